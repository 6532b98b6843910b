"""Planted faults of data and releases: each is told with its number and a remedy, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import ops
from shortlist.batch.health import Finding, examine
from shortlist.config import Settings, parse
from shortlist.data.held import note
from shortlist.dataset import DAY
from shortlist.stores import ROLES, Stores, open_stores
from shortlist.types import Events

NOW = 1_700_000_000_000_000
PEOPLE, ITEMS = 20, 30


@pytest.fixture
def stores() -> Iterator[Stores]:
    with open_stores(dict.fromkeys(ROLES, "memory:")) as opened:
        yield opened


def fill(stores: Stores, *, kind: int = 2, value: float = 4.0, ends: int = NOW - DAY, facts: bool = True) -> None:
    """20 people with 6 events each about 30 items, the last at `ends`."""
    stores.catalog.rows("user", [f"u{n}" for n in range(PEOPLE)], create=True)
    items = stores.catalog.rows("item", [f"i{n}" for n in range(ITEMS)], create=True)
    if facts:
        stores.catalog.put("item", items, {"title": np.array([f"Item {n}" for n in range(ITEMS)], object)})
    n = np.arange(PEOPLE * 6)
    append(stores, n % PEOPLE, (n * 7) % ITEMS, ends - (len(n) - 1 - n) * 1_000_000, kind, value)


def append(stores: Stores, user: object, item: object, time: object, kind: int = 2, value: float = 4.0) -> None:
    users, items, times = np.asarray(user, np.int32), np.asarray(item, np.int32), np.asarray(time, np.int64)
    kinds, values = np.full(len(users), kind, np.uint8), np.full(len(users), value, np.float32)
    id = ops.event_ids(users, items, kinds, values, times)
    stores.log.append(Events(users, items, kinds, values, times, np.zeros(len(users), np.uint64), id))


def looked(stores: Stores, home: Path, **tables: object) -> dict[str, Finding]:
    settings: Settings = replace(parse(tables), home=home)
    found = list(examine(settings, stores, NOW))
    assert all(each.remedy for each in found if each.level != "ok")
    assert all(each.exit_code for each in found if each.level == "error")
    return {each.check: each for each in found}


def test_good_data_has_no_complaint_but_that_nothing_is_published(stores: Stores, tmp_path: Path) -> None:
    fill(stores)
    found = looked(stores, tmp_path)
    assert {name for name, each in found.items() if each.level != "ok"} == {"release"}
    assert found["events"].said == "120 of 20 people and 30 items"


def test_no_events(stores: Stores, tmp_path: Path) -> None:
    found = looked(stores, tmp_path)
    assert (found["events"].level, found["events"].exit_code) == ("error", 3)


@pytest.mark.parametrize(
    ("spell", "how"),
    [
        (str.upper, "in lower case"),
        (lambda id: f" {id}", "without spaces"),
        (lambda id: f"{id}.0", "without .0"),
    ],
)
def test_ids_that_do_not_join_and_how_they_would(stores: Stores, tmp_path: Path, spell: object, how: str) -> None:
    fill(stores)
    assert callable(spell)
    strange = stores.catalog.rows("item", [spell(f"i{n}") for n in range(ITEMS)], create=True)
    append(stores, np.arange(30) % PEOPLE, strange, NOW - DAY + np.arange(30))
    found = looked(stores, tmp_path)["items join"]
    assert found.level == "warning"
    assert found.said.startswith("20.0% of the events")
    assert how in found.remedy
    assert "30 of 30" in found.remedy


def test_items_without_any_facts(stores: Stores, tmp_path: Path) -> None:
    fill(stores, facts=False)
    found = looked(stores, tmp_path)
    assert found["items join"].level == "warning"
    assert found["users join"].level == "ok"


@pytest.mark.parametrize(
    ("kinds", "kind", "because"),
    [
        ({"rate": {"least": 6}}, 2, "120 rate: least = 6 lies above every value, the largest is 4"),
        ({}, 0, "120 view: weight 0 says nothing"),
        ({}, 6, "120 hide: weight -1 is a dislike"),
        ({}, 77, "120 events have codes that no kind in [events.kinds] has: 77"),
    ],
)
def test_why_there_are_no_positives(
    stores: Stores, tmp_path: Path, kinds: dict[str, object], kind: int, because: str
) -> None:
    fill(stores, kind=kind)
    found = looked(stores, tmp_path, events={"kinds": kinds})["positives"]
    assert (found.level, found.exit_code) == ("error", 5)
    assert found.said == f"your configuration yields 0 positives because {because}"


def test_few_positives_are_a_warning(stores: Stores, tmp_path: Path) -> None:
    fill(stores, kind=0)
    append(stores, [0], [0], [NOW - DAY])
    found = looked(stores, tmp_path)["positives"]
    assert found.level == "warning"
    assert "only 1 events" in found.said


def test_times(stores: Stores, tmp_path: Path) -> None:
    fill(stores, ends=NOW - 30 * DAY)
    assert "30 days" in looked(stores, tmp_path)["stale data"].said
    assert looked(stores, tmp_path)["stale data"].level == "warning"
    append(stores, [0, 1], [0, 1], [NOW + DAY, NOW + DAY])
    found = looked(stores, tmp_path)["times"]
    assert found.level == "warning"
    assert "2 events lie in the future" in found.said


def test_all_at_the_same_time(stores: Stores, tmp_path: Path) -> None:
    stores.catalog.rows("user", ["u"], create=True)
    stores.catalog.rows("item", ["a", "b"], create=True)
    append(stores, [0, 0], [0, 1], [NOW, NOW])
    assert "all times are equal" in looked(stores, tmp_path)["times"].remedy


def test_what_is_told_twice(stores: Stores, tmp_path: Path) -> None:
    fill(stores)
    append(stores, [0] * 10, [0] * 10, [NOW - 2 * DAY] * 10, value=1.0)
    found = looked(stores, tmp_path)["duplicates"]
    assert found.level == "ok"  # equal events are one event
    for value in range(10):
        append(stores, [0], [0], [NOW - 2 * DAY], value=float(value + 2))
    found = looked(stores, tmp_path)["duplicates"]
    assert found.level == "warning"
    assert "7.63%" in found.said


def test_cold_people_and_items(stores: Stores, tmp_path: Path) -> None:
    fill(stores)
    stores.catalog.rows("item", [f"n{n}" for n in range(90)], create=True)
    new = stores.catalog.rows("user", [f"n{n}" for n in range(180)], create=True)
    append(stores, new, np.zeros(180), np.full(180, NOW - DAY))
    found = looked(stores, tmp_path)
    assert found["cold items"].level == found["cold users"].level == "warning"
    assert found["cold items"].said.startswith("75.0%")
    assert found["cold users"].said.startswith("90.0%")


def test_what_waits_and_what_was_refused(stores: Stores, tmp_path: Path) -> None:
    fill(stores)
    held = next(each.held for each in stores.backends.values())
    event = {"user": "u1", "item": "late", "kind": "click", "value": 1.0, "time": NOW, "request": 0, "id": ""}
    held.add(["late"], [note(event)])
    rejects = tmp_path / "shortlist-data" / "rejects" / "x.rejects.jsonl"
    rejects.parent.mkdir(parents=True)
    rejects.write_text("".join(json.dumps({"reason": "value"}) + "\n" for _ in range(3)) + '{"cut', "utf-8")
    found = looked(stores, tmp_path)
    assert found["held events"].said == "1 events wait for their item, most for 'late' (1)"
    assert found["rejected rows"].said == "3 rows were refused: value (3)"
