"""The invented bookshop: repeatable, well formed, and what was planted can be found in it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.data.frames import to_dataset
from shortlist.data.world import TREND_DAYS, World, generate
from shortlist.dataset import DAY

NOW = 1_767_225_600_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return generate(now=NOW)


def test_the_same_seed_makes_the_same_world() -> None:
    small = {"now": NOW, "users": 100, "items": 300, "events": 2000}
    one, again, other = generate(**small), generate(**small), generate(**small, seed=1)
    assert one.frames.events.equals(again.frames.events)
    assert one.frames.items.equals(again.frames.items)
    assert one.frames.users.equals(again.frames.users)
    assert not one.frames.events.equals(other.frames.events)


def test_it_is_well_formed(world: World) -> None:
    events, items = world.frames.events, world.frames.items
    assert (events.height, items.height, world.frames.users.height) == (120_000, 4000, 1500)
    assert not events.select("user", "item").is_duplicated().any()
    assert events["time"].is_sorted()
    assert events["time"].is_between(NOW - 366 * DAY, NOW).all()
    assert items["title"].is_unique().all()
    assert set(events["kind"]) == {"click", "rate", "like", "hide"}
    assert events.filter(pl.col("kind") == "rate")["value"].is_between(1, 5).all()
    added = events.join(items, on="item")
    assert (added["time"] >= added["time_right"].cast(pl.Int64)).all()


def test_what_was_planted_can_be_found(world: World) -> None:
    data, users, items = to_dataset(world.frames)
    assert users[3] == "r3"
    assert items[3] == "b3"
    events = data.events
    before = (events.time < world.turned[events.user])[:, None]
    taste = np.where(before, world.taste[events.user], world.later[events.user])
    said = taste[np.arange(len(events)), world.shelf[events.item]]
    assert said.mean() > 8 / taste.shape[1]
    liked = said > 2 / taste.shape[1]
    rated = events.kind == 2
    assert events.value[rated & liked].mean() > events.value[rated & ~liked].mean() + 0.8
    recent = events.time > NOW - TREND_DAYS * DAY
    trendy = np.isin(events.item, world.trend)
    assert trendy[recent].mean() > 3 * trendy[~recent].mean()
    drawn = np.sort(np.bincount(events.item, minlength=len(items)))[::-1]
    assert drawn[:400].sum() > 0.25 * drawn.sum()  # a tenth of the books draws more than a quarter
