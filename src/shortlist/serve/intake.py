"""Events on their way in: checked, named, stored, and told what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice

import numpy as np

from shortlist import ops
from shortlist.data.events import context_number, hashed, request_number
from shortlist.data.held import AHEAD, note
from shortlist.dataset import Kinds
from shortlist.runtime import Runtime
from shortlist.serve import wire
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import Refusal
from shortlist.types import Columns, Events

ERASED = "this user was erased; lift that with POST /v1/users/{id}:lift, then they are somebody new"


class Intake:
    """What people did becomes events of the log."""

    def __init__(self, runtime: Runtime, metrics: Metrics) -> None:
        self.runtime, self.metrics = runtime, metrics
        self.catalog, self.kinds = runtime.catalog, runtime.kinds
        self.context = runtime.settings.context

    def take_all(self, lists: Sequence[Sequence[wire.EventInput]]) -> list[list[wire.EventResult]]:
        """`take` for several lists, with one commit for all of them."""
        results = iter(self.take([event for events in lists for event in events]))
        return [list(islice(results, len(events))) for events in lists]

    def take(self, events: Sequence[wire.EventInput]) -> list[wire.EventResult]:
        """Store what happened and tell what became of each event, in their order."""
        received = self.runtime.clock()
        results = {at: result for at, event in enumerate(events) if (result := self._rejected(event))}
        results |= self._erased([(at, event) for at, event in enumerate(events) if at not in results])
        good = [at for at in range(len(events)) if at not in results]
        create = self.runtime.settings.events.unknown_items == "create"
        items = self.catalog.rows("item", [str(events[at].item_id) for at in good], create=create).tolist()
        for some, take in (
            ([at for at, item in zip(good, items, strict=True) if item >= 0], self._append),
            ([at for at, item in zip(good, items, strict=True) if item < 0], self._set_aside),
        ):
            if some:
                results.update(zip(some, take([events[at] for at in some], received), strict=True))
        told: Counter[tuple[str, str, bool]] = Counter()
        for at, event in enumerate(events):
            kind = event.type if event.type in self.kinds.table else "unknown"
            told[kind, results[at].result, bool(event.request_id)] += 1
        for (kind, became, joined), count in told.items():
            self.metrics.event(kind, became, count, joined=joined)
        self.metrics.effect((self.runtime.clock() - received) / 1e6)
        return [results[at] for at in range(len(events))]

    def _rejected(self, event: wire.EventInput) -> wire.EventResult | None:
        try:
            wire.identifier(event.user_id, "/user_id")
            wire.identifier(event.item_id, "/item_id")
            if event.event_id is not None:
                wire.identifier(event.event_id, "/event_id")
            kind_code(self.kinds, event.type, "/type")
            if event.time is not None and event.time < wire.EPOCH:
                raise Refusal("invalid_argument", f"time {event.time.isoformat()} is before 1970", pointer="/time")
            known = ", ".join(self.context) or "none"
            if unknown := [name for name in event.facts if name not in self.context]:
                raise Refusal(
                    "invalid_argument",
                    f"the fact {unknown[0]!r} is not kept with events",
                    hint=f"the configuration names those that are, under [events] context: {known}",
                    pointer=f"/facts/{unknown[0]}",
                )
        except Refusal as refused:
            return wire.EventResult(
                "rejected", _given(event), code=refused.code, message=f"{refused.detail}; {refused.hint}"
            )
        return None

    def _erased(self, events: Sequence[tuple[int, wire.EventInput]]) -> dict[int, wire.EventResult]:
        """The refusals of events of people who were erased, by their place."""
        erased = self.catalog.erased([str(event.user_id) for _, event in events])
        return {
            at: wire.EventResult("rejected", _given(event), code="conflict", message=ERASED)
            for (at, event), gone in zip(events, erased.tolist(), strict=True)
            if gone
        }

    def _append(self, events: Sequence[wire.EventInput], received: int) -> list[wire.EventResult]:
        user = self.catalog.rows("user", [str(event.user_id) for event in events], create=True)
        item = self.catalog.rows("item", [str(event.item_id) for event in events])
        kind = np.array([self.kinds.table[event.type].code for event in events], np.uint8)
        value = np.array([event.value for event in events], np.float32)
        time = np.array([received if event.time is None else wire.micros(event.time) for event in events], np.int64)
        request = np.array([request_number(event.request_id) if event.request_id else 0 for event in events], np.uint64)
        ids = ops.event_ids(user, item, kind, value, time)
        named = [at for at, event in enumerate(events) if event.event_id is not None]
        ids[named] = hashed([_given(events[at]) for at in named])
        ahead = time > received + AHEAD
        moment = np.where(ahead, received, time)
        new = self.runtime.ingest(Events(user, item, kind, value, moment, request, ids, self._context(events)))
        results = []
        for event, id, fresh, early in zip(events, ids.tolist(), new.tolist(), ahead.tolist(), strict=True):
            derived = event.event_id is None
            name = _digits(id) if derived else _given(event)
            result = wire.EventResult("accepted" if fresh else "duplicate", name, derived)
            if early:
                result.code, result.message = "time_ahead", "its time is more than five minutes ahead; stored as now"
            results.append(result)
        return results

    def _context(self, events: Sequence[wire.EventInput]) -> Columns:
        """What the events say of their moment, as numbers, 0 where they do not; no columns when none does."""
        if not any(event.facts for event in events):
            return {}
        said = [_numbers(event) for event in events]
        return {name: np.array([each.get(name, 0) for each in said], np.int64) for name in self.context}

    def _set_aside(self, events: Sequence[wire.EventInput], received: int) -> list[wire.EventResult]:
        """Events about items that nobody knows: kept until somebody does, or refused."""
        held = self.runtime.held
        if self.runtime.settings.events.unknown_items == "reject" or held is None:
            return [
                wire.EventResult(
                    "rejected",
                    _given(event),
                    code="not_found",
                    message=f"there is no item {str(event.item_id)!r}; make it with PUT /v1/items/{{id}} first",
                )
                for event in events
            ]
        names = [str(event.item_id) for event in events]
        new = held.add(names, [_note(event, received) for event in events])
        for user in {str(event.user_id) for event in events if self.catalog.erased([str(event.user_id)])[0]}:
            held.remove(user)  # erased after this request had looked
        made = [name for name, row in zip(names, self.catalog.rows("item", names).tolist(), strict=True) if row >= 0]
        if made:  # by somebody else, after this request had looked
            self.runtime.arrived(made)
        return [
            wire.EventResult(
                "held" if fresh else "duplicate",
                _given(event),
                code="not_found",
                message=f"kept until item {str(event.item_id)!r} is made with PUT /v1/items/{{id}}",
            )
            for event, fresh in zip(events, new.tolist(), strict=True)
        ]


def kind_code(kinds: Kinds, name: str, where: str) -> int:
    """The code of the kind of event `name`, or a Refusal that points at `where`."""
    if name not in kinds.table:
        known = ", ".join(kinds.table)
        raise Refusal(
            "invalid_argument", f"there is no kind of event {name!r}", hint=f"choose one of: {known}", pointer=where
        )
    return kinds.table[name].code


def _note(event: wire.EventInput, received: int) -> str:
    """The text under which an event is held."""
    return note(
        {
            "user": str(event.user_id),
            "item": str(event.item_id),
            "kind": event.type,
            "value": event.value,
            "time": received if event.time is None else wire.micros(event.time),
            "request": request_number(event.request_id) if event.request_id else 0,
            "id": "" if event.event_id is None else _digits(hashed([str(event.event_id)])[0].tolist()),
        },
        _numbers(event),
    )


def _numbers(event: wire.EventInput) -> dict[str, int]:
    return {name: context_number(text) for name, text in event.facts.items()}


def _digits(id: Sequence[int]) -> str:
    return f"{id[0]:016x}{id[1]:016x}"


def _given(event: wire.EventInput) -> str:
    return "" if event.event_id is None else str(event.event_id)
