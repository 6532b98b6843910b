"""What comes in again, in another order, with odd times and odd ids: one effect, the same state, nothing merged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.faults import world
from benchmarks.faults.processes import Nursery, Server
from shortlist import ops
from shortlist.stores.embedded import Embedded
from shortlist.stores.embedded_state import EmbeddedState
from shortlist.stream.fold import fold
from shortlist.types import Events


@dataclass
class Door:
    """A server of the tiny installation."""

    home: Path
    client: httpx.Client

    def tell(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.client.post("/v1/events", json={"events": events})
        assert answer.status_code == 202, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results

    def history(self, user: str) -> list[dict[str, Any]]:
        answer = self.client.get(f"/v1/users/{quote(user, safe='')}/history", params={"limit": 1000})
        assert answer.status_code == 200, answer.text
        events: list[dict[str, Any]] = answer.json()["events"]
        return events


@pytest.fixture(scope="module")
def door(nursery: Nursery, start: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    home = world.copy(start, tmp_path_factory.mktemp("incoming") / "home")
    server = Server.start(nursery, home)
    assert server, home.with_name("home.log").read_text()
    try:
        with server.client() as client:
            yield Door(home, client)
    finally:
        server.process.kill()


# the same event again


@pytest.mark.fault("I1")
def test_an_event_id_has_one_effect(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    """Ten times at once, ten times in one batch, and after the server was killed."""
    home = world.copy(start, tmp_path / "home")
    event = {"user_id": "twice", "item_id": "i1", "event_id": "once", "time": "2024-05-01T00:00:00Z"}
    results = []
    for _ in range(2):
        server = Server.start(nursery, home)
        assert server
        try:
            with server.client() as client, ThreadPoolExecutor(10) as threads:
                body = {"events": [event]}
                answers = list(threads.map(lambda _: client.post("/v1/events", json=body), range(10)))
                answers.append(client.post("/v1/events", json={"events": [event] * 10}))
                results += [each["result"] for answer in answers for each in answer.json()["results"]]
                history = client.get("/v1/users/twice/history").json()["events"]
        finally:
            server.process.kill()
        assert [each["item_id"] for each in history] == ["i1"]
    assert sorted(results) == ["accepted", *["duplicate"] * 39]


# in any order

SENT = [(user, item, 1_000 + at) for at, (user, item) in enumerate((u, i) for u in range(3) for i in range(5))]
EXPECTED = {user: [(item, time) for u, item, time in SENT if u == user] for user in range(3)}


def _events(order: list[int]) -> Events:
    user, item, time = (np.array([SENT[at][column] for at in order]) for column in range(3))
    size = len(order)
    kind, value = np.ones(size, np.uint8), np.ones(size, np.float32)
    facts = user.astype(np.int32), item.astype(np.int32), kind, value, time.astype(np.int64)
    return Events(*facts, np.zeros(size, np.uint64), ops.event_ids(*facts))


@pytest.fixture(scope="module")
def emptied() -> Iterator[EmbeddedState]:
    with Embedded.memory() as stores:
        yield stores.state


@pytest.mark.fault("I2")
@settings(max_examples=1000, deadline=None)
@given(st.permutations(range(len(SENT))), st.lists(st.integers(0, len(SENT)), max_size=4))
def test_the_state_is_the_same_in_whatever_order_events_come(
    emptied: EmbeddedState, order: list[int], cuts: list[int]
) -> None:
    emptied.clear()
    for begin, end in pairwise([0, *sorted(cuts), len(order)]):
        fold(_events(order[begin:end]), emptied, [], 100)
    for user, wanted in EXPECTED.items():
        lists = emptied.lists("user", "recent", np.array([user], np.int32))
        assert list(zip(lists["item"].tolist(), lists["time"].tolist(), strict=True)) == wanted


# times


@pytest.mark.fault("I3")
@pytest.mark.parametrize(
    ("time", "fate"),
    [
        ("2024-05-01T12:00:00Z", "accepted"),
        ("2024-05-01T12:00:00+05:30", "accepted"),
        ("2024-02-29T23:59:59.999999Z", "accepted"),
        ("1970-01-01T00:00:00Z", "accepted"),
        ("1969-12-31T23:59:59Z", "rejected"),
        ("2038-01-19T03:14:08Z", "time_ahead"),
        ("9999-12-31T23:59:59Z", "time_ahead"),
        ("2024-05-01T12:00:00", 422),
        ("2024-05-01", 422),
        (1714564800, 422),
        (1714564800000, 422),
        ("soon", 422),
        ("", 422),
        ("2023-02-29T00:00:00Z", 422),
    ],
)
def test_times_are_exact_or_refused(door: Door, time: object, fate: object) -> None:
    event = {"user_id": "timely", "item_id": "i1", "time": time, "event_id": f"time {time}"}
    answer = door.client.post("/v1/events", json={"events": [event]})
    if isinstance(fate, int):
        assert answer.status_code == fate
        assert answer.json()["errors"][0]["pointer"] == "/events/0/time"
        return
    (result,) = answer.json()["results"]
    assert result["result"] == ("rejected" if fate == "rejected" else "accepted")
    assert (result.get("code") == "time_ahead") == (fate == "time_ahead")


@pytest.mark.fault("I3")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2025, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_zone_changes_the_words_not_the_moment(door: Door, moment: datetime, minutes: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    user = f"zone {moment.isoformat()} {minutes}"
    door.tell({"user_id": user, "item_id": "i2", "time": local.isoformat()})
    (met,) = door.history(user)
    assert datetime.fromisoformat(met["time"]) == moment


# ids

IDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=60).filter(
    lambda id: len(id.encode()) <= 256
)
ODD = ["1", "01", "1.0", " 1", "1 ", "🎬", "é", "e\u0301", "../x", "a:b", "a/b", "%2F", "?", "#", "null", "x" * 256]


@pytest.mark.fault("I4")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(IDS)
def test_an_id_comes_back_from_api_store_and_url_as_it_was_given(door: Door, id: str) -> None:
    _goes_around(door, id)


@pytest.mark.fault("I4")
@pytest.mark.parametrize("id", ODD)
def test_odd_ids_are_ids(door: Door, id: str) -> None:
    _goes_around(door, id)


def _goes_around(door: Door, id: str) -> None:
    path = quote(id, safe="")
    if id in (".", ".."):  # clients resolve these away before they are sent
        return
    answer = door.client.put(f"/v1/items/{path}", json={"fields": {"title": f"<{id}>"}})
    assert answer.status_code in (200, 201), answer.text
    found = door.client.get(f"/v1/items/{path}").json()
    assert (found["id"], found["fields"]["title"]) == (id, f"<{id}>")
    user = f"reads {id}"[:60]
    (result,) = door.tell({"user_id": user, "item_id": id, "time": "2024-01-01T00:00:00Z"})
    assert result["result"] in ("accepted", "duplicate")
    assert id in [each["item_id"] for each in door.history(user)]


@pytest.mark.fault("I4")
def test_different_ids_are_different_items(door: Door) -> None:
    for at, id in enumerate(ODD):
        door.client.put(f"/v1/items/{quote(id, safe='')}", json={"fields": {"title": str(at)}})
    for at, id in enumerate(ODD):
        assert door.client.get(f"/v1/items/{quote(id, safe='')}").json()["fields"]["title"] == str(at)


@pytest.mark.fault("I4")
@pytest.mark.parametrize("id", ["", "x" * 257, "a\nb", "a\0b", None, 1.5, True, ["a"], {"a": 1}])
def test_what_is_no_id_is_refused(door: Door, id: object) -> None:
    answer = door.client.post("/v1/events", json={"events": [{"user_id": "u1", "item_id": id}]})
    if answer.status_code == 202:
        (result,) = answer.json()["results"]
        assert result["result"] == "rejected"
        assert "item_id" in result["message"] or "id" in result["message"]
    else:
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/events/0/item_id")


@pytest.mark.fault("I4")
def test_a_number_is_its_decimal_text(door: Door) -> None:
    door.tell({"user_id": 4711, "item_id": "i3", "time": "2024-01-01T00:00:00Z"})
    assert [each["item_id"] for each in door.history("4711")] == ["i3"]


# unknown things


@pytest.mark.fault("I7")
def test_unknown_items_wait_and_unknown_kinds_are_named(door: Door) -> None:
    held, unknown = door.tell(
        {"user_id": "early", "item_id": "not yet", "time": "2024-01-01T00:00:00Z"},
        {"user_id": "early", "item_id": "i1", "type": "dance", "time": "2024-01-01T00:00:01Z"},
    )
    assert held["result"] == "held"
    assert unknown["result"] == "rejected"
    assert "dance" in unknown["message"]
    assert "not yet" in held["message"]
    door.client.put("/v1/items/not%20yet", json={"fields": {}})
    assert [each["item_id"] for each in door.history("early")] == ["not yet"]


@pytest.mark.fault("I8")
def test_columns_may_come_late_stay_away_and_keep_their_type(door: Door) -> None:
    def put(id: str, **fields: object) -> httpx.Response:
        return door.client.put(f"/v1/items/{id}", json={"fields": fields})

    assert put("c1", colour="red", size=3.0).status_code == 201
    assert put("c2", colour="a colour that nobody has seen", material="wood").status_code == 201  # new, and one missing
    refused = put("c3", size="large")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/fields/size"
    assert "size" not in door.client.get("/v1/items/c2").json()["fields"]
    answer = door.client.post("/v1/recommend", json={"user_id": "u1", "n": 20, "fields": ["size", "material"]})
    assert answer.status_code == 200
    assert len(answer.json()["items"]) == 20
