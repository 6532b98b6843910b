"""What happened, read back from the log: page by page, and live as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Annotated, Self

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shortlist.errors import DataError
from shortlist.protocols import EventLog
from shortlist.serve import wire
from shortlist.serve.connection import CLOSING
from shortlist.serve.endpoint import Answer, Call, Endpoint
from shortlist.serve.entities import Cursor, PageSize
from shortlist.serve.intake import kind_code
from shortlist.serve.problems import Refusal
from shortlist.serve.service import Service
from shortlist.types import Events, Mask

LOOKED_AT = 2_000_000  # events looked at for one page; where fewer match, the page is shorter and has a cursor
PIECE = 200  # events sent at once
POLL = 0.2  # seconds between two looks for what is new
HEARTBEAT = 15.0  # seconds without an event after which something is sent all the same
RETRY = 2_000  # milliseconds after which a client that lost the connection should come again
STREAMS = 32  # clients at once
EVENT_STREAM = "text/event-stream"
Keep = Callable[[Events], Mask]


class Wanted(Struct, forbid_unknown_fields=True):
    """Which events: of one user, of one item, of one kind; everything that is given must fit."""

    user_id: str = ""
    item_id: str = ""
    type: Annotated[str, Meta(description="a kind of event of this installation, such as click")] = ""


class EventsQuery(Wanted):
    since: Annotated[wire.Moment | None, Meta(description="happened then or later")] = None
    until: Annotated[wire.Moment | None, Meta(description="happened before")] = None
    page_size: PageSize = 100
    cursor: Cursor = ""


class StreamQuery(Wanted):
    after: Annotated[
        str, Meta(max_length=200, description="as the header Last-Event-ID, for clients that cannot send it")
    ] = ""


class Happened(Struct):
    """One event as it was stored. `event_id` is 32 hexadecimal digits: an id that was sent is kept as its hash."""

    event_id: str
    user_id: str
    item_id: str
    type: str
    value: float | None
    time: datetime


class EventPage(Struct, omit_defaults=True):
    """In order of arrival. The last page has no `next_cursor`; a page before it may be short."""

    events: list[Happened]
    next_cursor: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Place:
    """Behind an event: the `skip`th after the offset `start`, whose id begins with `id`; behind the offset when that
    is 0."""

    start: str = ""
    skip: int = 0
    id: int = 0

    def __str__(self) -> str:
        return f"{self.skip}.{self.id:016x}.{self.start}"

    @classmethod
    def read(cls, text: str, where: str) -> Self:
        """What str() wrote, or a Refusal."""
        skip, _, rest = text.partition(".")
        id, dot, start = rest.partition(".")
        with suppress(ValueError):
            if dot and len(id) == 16 and skip.isascii() and skip.isdigit() and len(skip) < 12:
                return cls(start, int(skip), int(id, 16))
        raise Refusal("invalid_argument", "this is not the id of an event of the stream", pointer=where)

    def passed(self, events: Events) -> int:
        """How many of the `events` after the offset lie before this place. Where an erasure took events out since, some
        may come twice, and none is missed."""
        if not self.skip:
            return 0
        same = np.flatnonzero(events.id[: self.skip, 0] == np.uint64(self.id))
        return int(same[-1]) + 1 if len(same) else 0


@dataclass(frozen=True, slots=True)
class Found:
    """Events, the place behind each, and the place behind all that was looked at; `more` = there are others."""

    events: Events
    places: Sequence[Place]
    reached: Place
    more: bool


def read(log: EventLog, place: Place, keep: Keep, limit: int) -> Found:
    """At most `limit` events behind `place` that `keep` (E,) wants, in order of arrival."""
    parts: list[Events] = []
    places: list[Place] = []
    looked = 0
    for offset, events in log.scan(place.start):
        begin = place.passed(events)
        at = np.flatnonzero(keep(events))
        at = at[at >= begin]
        some = at[: limit - len(places)]
        parts.append(events.take(some))
        places += [Place(place.start, int(each) + 1, int(events.id[each, 0])) for each in some]
        if len(at) > len(some):
            return Found(Events.concat(parts), places, places[-1], True)
        place, looked = Place(offset), looked + len(events) - begin
        if looked >= LOOKED_AT:
            return Found(Events.concat(parts), places, place, True)
    return Found(Events.concat(parts), places, place, False)


def wanted(service: Service, query: Wanted, since: datetime | None = None, until: datetime | None = None) -> Keep:
    """The events that fit, as a mask. Somebody or something that nobody knows fits none."""
    rows = {
        name: int(service.catalog.rows(name, [wire.identifier(id, f"/{name}_id")])[0])
        for name, id in (("user", query.user_id), ("item", query.item_id))
        if id
    }
    kind = kind_code(service.kinds, query.type, "/type") if query.type else None

    def keep(events: Events) -> Mask:
        fit = (events.user >= 0) & (events.item >= 0)
        for name, row in rows.items():
            fit &= getattr(events, name) == row
        if kind is not None:
            fit &= events.kind == kind
        if since is not None:
            fit &= events.time >= wire.micros(since)
        if until is not None:
            fit &= events.time < wire.micros(until)
        return fit

    return keep


def told(service: Service, events: Events) -> list[Happened]:
    """Events with the ids that people know."""
    if len(events):
        service.runtime.follow()  # where another process writes, its events may name whom this one has not met yet
    columns = (
        events.id.tolist(),
        service.catalog.ids("user", events.user),
        service.catalog.ids("item", events.item),
        events.kind.tolist(),
        events.value.tolist(),
        events.time.tolist(),
    )
    return [
        Happened(
            f"{id[0]:016x}{id[1]:016x}", user, item, service.kinds.name(kind), wire.finite(value), wire.moment(time)
        )
        for id, user, item, kind, value, time in zip(*columns, strict=True)
    ]


def page(service: Service, query: EventsQuery) -> EventPage:
    """The next `page_size` events that fit."""
    asked = msgspec.structs.replace(query, cursor="", page_size=1)
    listing = f"events {msgspec.json.encode(asked).decode()}"
    place = Place(*service.cursors.read(listing, query.cursor)) if query.cursor else Place()
    keep = wanted(service, query, query.since, query.until)
    found = read(service.runtime.stores.log, place, keep, query.page_size)
    at = found.reached
    cursor = service.cursors.write(listing, [at.start, at.skip, at.id]) if found.more else UNSET
    return EventPage(told(service, found.events), cursor)


class EventStream(Response):
    """Server-sent events (HTML standard, 9.2) until the client goes or the server stops.

    Each client reads the log at its own pace in a thread that is no worker's: a slow one costs one piece of memory and
    delays nobody.
    """

    def __init__(self, service: Service, keep: Keep, place: Place) -> None:
        super().__init__(None, 200, {"X-Accel-Buffering": "no"}, EVENT_STREAM)
        del self.headers["content-length"]
        self.service, self.keep, self.place = service, keep, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            gone = asyncio.create_task(_gone(receive))
            self.service.streams += 1
            try:
                await self._send_all(scope, send, gone)
            finally:
                self.service.streams -= 1
                gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, scope: Scope, send: Send, gone: asyncio.Task[None]) -> None:
        said, last = f"retry: {RETRY}\n{self._here()}".encode(), monotonic()
        while not (gone.done() or scope.get(CLOSING)):
            if said:
                await send({"type": "http.response.body", "body": said, "more_body": True})
                last = monotonic()
            said = await asyncio.to_thread(self._piece)
            if not said:
                await asyncio.wait([gone], timeout=POLL)
                if monotonic() - last >= HEARTBEAT:
                    said = self._here().encode()

    def _piece(self) -> bytes:
        """The next events as text."""
        found = read(self.service.runtime.stores.log, self.place, self.keep, PIECE)
        self.place = found.reached
        lines = [
            f"id: {behind}\ndata: {msgspec.json.encode(event).decode()}\n\n"
            for behind, event in zip(found.places, told(self.service, found.events), strict=True)
        ]
        return "".join(lines).encode()

    def _here(self) -> str:
        """Where the stream has come to: no event, but where a client that comes again goes on."""
        return f"id: {self.place}\n\n"


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _stream(service: Service, call: Call) -> Answer:
    """From behind the event that the client saw last, from now on when it names none."""
    log, keep = service.runtime.stores.log, wanted(service, call.query)
    last = call.headers.get("last-event-id", "") or call.query.after
    place = Place.read(last, "/after") if last else Place(log.end())
    try:
        read(log, place, keep, 1)
    except DataError as error:
        raise Refusal("invalid_argument", error.message, hint=error.hint, pointer="/after") from None
    if service.streams >= STREAMS:
        raise Refusal("overloaded", f"{STREAMS} streams are open already", after=10)
    return 200, EventStream(service, keep, place)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/events",
        "What happened, page by page: of a user, of an item, of a kind, in a time",
        lambda service, call: (200, page(service, call.query)),
        EventPage,
        query=EventsQuery,
        scope="admin",
        pii=True,
    ),
    Endpoint(
        "GET",
        "/v1/events:stream",
        "What happens, as server-sent events: from now on, or from behind the event that Last-Event-ID names",
        _stream,
        query=StreamQuery,
        media=EVENT_STREAM,
        headers=("Last-Event-ID",),
        scope="admin",
        pii=True,
    ),
)
