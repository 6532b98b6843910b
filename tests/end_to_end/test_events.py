"""What happened, read back: page by page, and as a stream that loses and repeats nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import httpx
import pytest

from shortlist.config import Settings
from shortlist.data.events import context_number, hashed
from shortlist.serve import events
from tests.end_to_end.test_http import Served, problem, serving


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


def click(number: int, **more: Any) -> dict[str, Any]:
    return {"user_id": f"u{number % 7}", "item_id": f"i{number % 11}", "event_id": f"e{number}", **more}


def listed(served: Served, **query: Any) -> list[dict[str, Any]]:
    """All pages."""
    found: list[dict[str, Any]] = []
    while True:
        answer = served.client.get("/v1/events", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["events"]
        if "next_cursor" not in page:
            return found
        assert page["events"]
        query["cursor"] = page["next_cursor"]


def key(event: dict[str, Any]) -> str:
    return str(event["event_id"])


# pages


def test_pages_hold_every_event_once_in_order_of_arrival(served: Served) -> None:
    whole = listed(served, page_size=1000)
    assert len(whole) == len({key(event) for event in whole}) > 1000
    for size in (1, 7, 1000):
        some = [event for event in whole if event["user_id"] == "u3"]
        assert listed(served, user_id="u3", page_size=size) == some
    served.tell(click(1), click(2))
    assert [event["user_id"] for event in listed(served, page_size=1000)[len(whole) :]] == ["u1", "u2"]


def test_what_is_asked_for_is_what_comes(served: Served) -> None:
    whole = listed(served, page_size=1000)
    middle = sorted(event["time"] for event in whole)[len(whole) // 2]
    for query, fits in (
        ({"item_id": "i5"}, lambda event: event["item_id"] == "i5"),
        ({"type": "hide"}, lambda event: event["type"] == "hide"),
        ({"since": middle}, lambda event: event["time"] >= middle),
        ({"until": middle, "type": "rate"}, lambda event: event["time"] < middle and event["type"] == "rate"),
        ({"user_id": "nobody"}, lambda event: False),
    ):
        expected = [event for event in whole if fits(event)]
        assert listed(served, page_size=1000, **query) == expected
        assert expected or "user_id" in query


@pytest.mark.parametrize("number", ["0", "6", "2025", "6.8e-301", "-1", "1e9", "nan"])
@pytest.mark.parametrize("name", ["since", "until"])
def test_a_number_is_no_time(served: Served, name: str, number: str) -> None:
    answer = served.client.get("/v1/events", params={name: number})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == f"/{name}"


def test_a_cursor_is_good_for_its_listing_only(served: Served) -> None:
    cursor = served.client.get("/v1/events?user_id=u3&page_size=2").json()["next_cursor"]
    assert served.client.get("/v1/events", params={"user_id": "u3", "cursor": cursor}).status_code == 200
    for query in (
        {"cursor": cursor},
        {"user_id": "u4", "cursor": cursor},
        {"user_id": "u3", "cursor": cursor[:-1] + ("A" if cursor[-1] != "A" else "B")},
        {"user_id": "u3", "cursor": cursor[4:]},
        {"user_id": "u3", "cursor": "é"},
    ):
        found = problem(served.client.get("/v1/events", params=query), "invalid_argument")
        assert [fault.pointer for fault in found.errors] == ["/cursor"]
    problem(served.client.get("/v1/events?type=clik"), "invalid_argument")


def test_a_page_that_looked_long_enough_is_short_and_goes_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = listed(served, user_id="u3", page_size=1000)
    for number in range(5):
        served.tell(click(number * 7 + 3))
    expected = listed(served, user_id="u3", page_size=1000)
    monkeypatch.setattr(events, "LOOKED_AT", 1)
    found, cursor, pages = [], "", 0
    while True:
        page = served.client.get("/v1/events", params={"user_id": "u3", "page_size": 1000, "cursor": cursor}).json()
        found += page["events"]
        cursor, pages = page.get("next_cursor", ""), pages + 1
        if not cursor:
            break
    assert found == expected
    assert pages > 1


# the stream


@dataclass
class Listening:
    """A client of the stream: messages as (id, event or None)."""

    lines: Iterator[str]
    response: httpx.Response

    def next(self) -> tuple[str, dict[str, Any] | None]:
        id, data = "", None
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "id":
                id = value
            elif name == "data":
                data = json.loads(value)
            elif not line:
                return id, data
        raise EOFError

    def events(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        while len(found) < count:
            id, event = self.next()
            if event is not None:
                found.append((id, event))
        return found


@contextmanager
def listening(served: Served, last: str = "", **query: str) -> Iterator[Listening]:
    headers = {"Last-Event-ID": last} if last else {}
    with served.client.stream("GET", "/v1/events:stream", headers=headers, params=query) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Listening(response.iter_lines(), response)


def test_a_stream_tells_what_happens_and_only_what_was_asked_for(served: Served) -> None:
    with listening(served, user_id="u3") as stream:
        begun, nothing = stream.next()
        assert begun
        assert nothing is None
        served.tell(click(1), click(3, type="like", value=2), click(10))
        (_, first), (_, second) = stream.events(2)
        assert (first["user_id"], first["item_id"], first["type"], first["value"]) == ("u3", "i3", "like", 2.0)
        assert (second["user_id"], second["item_id"]) == ("u3", "i10")
        assert first["time"].endswith("Z")


def test_a_stream_goes_on_where_it_broke_off_without_loss_or_repeat(served: Served) -> None:
    before = len(listed(served, page_size=1000))
    with listening(served) as stream:
        last, _ = stream.next()

    def write(part: int) -> None:
        for commit in range(20):
            served.tell(*(click(part * 1000 + commit * 3 + place) for place in range(3)))

    writers = [threading.Thread(target=write, args=(part,)) for part in range(3)]
    for writer in writers:
        writer.start()
    found: list[dict[str, Any]] = []
    for cut in (1, 7, 40, 132):  # in the middle of a batch, of a commit, at its end
        with listening(served, last) as stream:
            for id, event in stream.events(cut):
                found.append(event)
                last = id
    for writer in writers:
        writer.join()
    assert len(found) == 180
    assert [key(event) for event in found] == [key(event) for event in listed(served, page_size=1000)[before:]]


def test_who_comes_again_before_the_first_event_loses_nothing(served: Served) -> None:
    with listening(served) as stream:
        last, _ = stream.next()
    served.tell(click(1))
    with listening(served, last) as stream:
        assert stream.events(1)[0][1]["user_id"] == "u1"
    with listening(served, after=last) as stream:
        assert stream.events(1)[0][1]["user_id"] == "u1"


def test_a_stream_survives_a_restart_of_the_server(installation: Settings) -> None:
    with serving(installation) as served, listening(served) as stream:
        stream.next()
        served.tell(*(click(number) for number in range(5)))
        found = stream.events(3)
    with serving(installation) as served:
        served.tell(click(5))
        with listening(served, found[-1][0]) as stream:
            found += stream.events(3)
    assert [event["user_id"] for _, event in found] == [f"u{number}" for number in range(6)]


def test_a_quiet_stream_says_that_it_lives_and_where_it_is(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT", 0.0)
    with listening(served, user_id="u3") as stream:
        first, _ = stream.next()
        served.tell(click(1))
        beats = [stream.next() for _ in range(10)]
        assert all(event is None for _, event in beats)
        assert beats[-1][0] != first  # the others' events have been passed


@pytest.mark.parametrize("last", ["x", "5", "1.zz.3", "1.0000000000000000", "0.0000000000000000.999999999", "-1.0.0"])
def test_an_id_that_no_stream_gave_is_refused(served: Served, last: str) -> None:
    answer = served.client.get("/v1/events:stream", headers={"Last-Event-ID": last})
    assert [fault.pointer for fault in problem(answer, "invalid_argument").errors] == ["/after"]


def test_streams_are_counted_and_bounded_and_block_nobody(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STREAMS", 8)
    streams = [listening(served) for _ in range(8)]  # twice as many as there are workers
    opened = [stream.__enter__() for stream in streams]
    for stream in opened:
        stream.next()
    problem(served.client.get("/v1/events:stream"), "overloaded")
    assert served.ids(user_id="u3", n=3)
    served.tell(click(1))
    for stream in opened:
        assert stream.events(1)[0][1]["user_id"] == "u1"
    for context in streams:
        context.__exit__(None, None, None)
    until = monotonic() + 20
    while served.client.head("/v1/events:stream").status_code == 503:  # until the server sees that they are gone
        assert monotonic() < until
    with listening(served) as again:
        again.next()


def test_streams_end_when_the_server_stops(installation: Settings) -> None:
    begun, ended = threading.Event(), threading.Event()

    def listen(url: httpx.URL) -> None:
        with httpx.Client(base_url=url, timeout=30) as client, client.stream("GET", "/v1/events:stream") as response:
            for _ in response.iter_lines():  # raises where an answer is cut off
                begun.set()
        ended.set()

    with serving(installation) as served:
        thread = threading.Thread(target=listen, args=(served.client.base_url,))
        thread.start()
        assert begun.wait(10)
    thread.join(10)
    assert ended.is_set()


def test_a_head_request_ends(served: Served) -> None:
    assert served.client.head("/v1/events:stream").status_code == 200


# facts of the moment


def kept(served: Served) -> dict[str, int]:
    """What the log says of `place`, by event; 0 = nothing."""
    found: dict[str, int] = {}
    for _, batch in served.runtime.stores.log.scan():
        place = batch.columns.get("place", [-1] * len(batch))
        found |= {
            f"{first:016x}{second:016x}": max(int(at), 0)
            for (first, second), at in zip(batch.id.tolist(), place, strict=True)
        }
    return found


def test_facts_of_the_moment_are_kept_with_what_happened(installation: Settings) -> None:
    place = replace(installation, events=replace(installation.events, context=("place",)))
    with serving(place) as served:
        before = kept(served)
        told = served.tell(click(1, facts={"place": "top"}), click(2), click(3, facts={"place": ""}))
        assert [each["result"] for each in told] == ["accepted"] * 3
        now = kept(served)
        said = [now[f"{first:016x}{second:016x}"] for first, second in hashed(["e1", "e2", "e3"]).tolist()]
        assert said == [context_number("top"), 0, 0]
        assert before.items() <= now.items()


def test_facts_wait_with_an_event_for_its_item(installation: Settings) -> None:
    with serving(replace(installation, events=replace(installation.events, context=("place",)))) as served:
        (told,) = served.tell({**click(1, facts={"place": "side"}), "item_id": "not-yet"})
        assert told["result"] == "held"
        assert served.client.put("/v1/items/not-yet", json={"fields": {}}).status_code in (200, 201)
        ((first, second),) = hashed(["e1"]).tolist()
        assert kept(served)[f"{first:016x}{second:016x}"] == context_number("side")


def test_a_fact_that_nobody_keeps_is_refused_with_its_event(served: Served) -> None:
    told = served.tell(click(1, facts={"plcae": "top"}), click(2))
    assert [each["result"] for each in told] == ["rejected", "accepted"]
    assert "'plcae' is not kept" in told[0]["message"]
    assert "[events] context" in told[0]["message"]
