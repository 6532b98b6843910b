"""Counters that fade and rates: the naive sums, nothing of the future, and the same however events came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.dataset import DAY, DEFAULT_KINDS, Dataset
from shortlist.errors import ConfigError
from shortlist.features import happened
from shortlist.features.ledger import Ledger
from shortlist.features.tallies import STRONGEST, USUAL, Tallies, TalliesModel, beta
from shortlist.protocols import Catalog
from shortlist.stores import open_store
from shortlist.stores.arrays import objects
from shortlist.types import Candidates, Columns, Events, Queries

ITEMS, USERS, HOUR = 4, 3, DAY // 24
GENRES: list[tuple[str, ...]] = [("Drama",), (), ("Drama", "Crime"), ("Crime",)]
CODES = {name: kind.code for name, kind in DEFAULT_KINDS.items()}
BY = ("item", "user", "user * item", "item.genres", "user * item.genres", "item.price * hour", "user.job", "weekday")
Row = tuple[int, int, int, str]  # user, item, hour, kind
happenings = st.lists(
    st.tuples(
        st.integers(0, USERS - 1),
        st.integers(0, ITEMS - 1),
        st.integers(0, 60),
        st.sampled_from(["view", "click", "shown", "hide"]),
    ),
    max_size=30,
)


def opened() -> Catalog:
    made: Catalog = open_store("catalog", "memory:")
    rows = made.rows("item", [f"i{row}" for row in range(ITEMS)], create=True)
    made.put(
        "item",
        rows,
        {"genres": objects(GENRES), "price": np.array([1.0, 2.0, np.nan, 1.0]), "at": np.arange(7, 7 + ITEMS)},
    )
    made.put("user", made.rows("user", ["a", "b", "c"], create=True), {"job": objects(["cook", "", "cook"])})
    return made


CATALOG = opened()


def log(rows: list[Row]) -> Events:
    user, item, hour, kind = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
    columns = (
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.array([CODES[name] for name in kind], np.uint8),
        np.ones(len(rows), np.float32),
        np.array(hour, np.int64) * HOUR,
    )
    return Events(*columns, np.zeros(len(rows), np.uint64), ops.event_ids(*columns))


def made(rows: list[Row], **fields: Any) -> TalliesModel:
    facts = {}
    for entity, size in (("user", USERS), ("item", ITEMS)):
        facts[entity] = dict(CATALOG.read(entity, np.arange(size, dtype=np.int32), CATALOG.names(entity)))
    whole = Dataset.of(log(rows), USERS, ITEMS, users=facts["user"], items=facts["item"])
    return Tallies(CATALOG, **fields).fit(whole, seed=0)


def question(*hours: int) -> tuple[Queries, Candidates]:
    """Each person and somebody unknown, asked about every item and one that nobody knows, at each hour."""
    users = np.tile(np.array([0, 1, 2, -1], np.int32), len(hours))
    time = np.repeat(np.array(hours, np.int64), 4) * HOUR
    item = np.tile(np.append(np.arange(ITEMS), -1).astype(np.int32), len(users))
    return Queries.of(users, time=time), Candidates(np.repeat(np.arange(len(users)), ITEMS + 1).astype(np.int32), item)


def same(one: Columns, other: Columns, tolerance: float = 1e-6) -> None:
    assert list(one) == list(other)
    for name, column in one.items():
        np.testing.assert_allclose(column, other[name], rtol=tolerance, atol=tolerance, err_msg=name)


JOBS = ["cook", "", "cook"]
PRICES = [1, 2, None, 1]


def parts(group: str, user: int, item: int, hour: int) -> list[Any]:
    """The keys of an event or a question, naively."""
    made: list[tuple[Any, ...]] = [()]
    for part in group.split(" * "):
        values: dict[str, Any] = {
            "item": [item] if item >= 0 else [],
            "user": [user] if user >= 0 else [],
            "item.genres": GENRES[item] if item >= 0 else [],
            "item.price": [PRICES[item]] if item >= 0 and PRICES[item] else [],
            "user.job": [JOBS[user]] if user >= 0 and JOBS[user] else [],
            "hour": [hour % 24],
            "weekday": [hour // 24 % 7],
        }
        made = [(*key, value) for key in made for value in values[part]]
    return made


@given(happenings, st.integers(0, 70))
@settings(max_examples=40)
def test_it_is_the_naive_sum_of_what_happened_before(rows: list[Row], hour: int) -> None:
    columns = made(rows, by=BY, half_lives=("3h",), kinds=("click",)).columns(*question(hour))
    queries, found = question(hour)
    for group in BY:
        past = [
            (key, hour - at)
            for user, item, at, kind in rows
            if kind == "click" and at < hour
            for key in parts(group, user, item, at)
        ]
        for n, (query, item) in enumerate(zip(found.query, found.item, strict=True)):
            mine = parts(group, int(queries.user[query]), int(item), hour)
            for window, pace in (("all", 0.0), ("3h", 1 / 3)):
                sums = [sum(0.5 ** (age * pace) for key, age in past if key == own) for own in mine]
                wanted = np.log1p(np.mean(sums)) if sums else np.nan
                told = columns[f"tally.{group.replace(' ', '')}.{window}"][n]
                assert told == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True), (group, window)


@given(happenings, happenings, happenings, st.integers(0, 70))
@settings(max_examples=40)
def test_what_comes_while_serving_counts_like_what_was_there(
    base: list[Row], first: list[Row], rest: list[Row], hour: int
) -> None:
    asked = {"by": BY, "kinds": ("click",), "of": ("shown",)}
    grown = made(base, **asked)
    grown.columns(*question(hour, 24, 30))  # what is remembered of the days does not outlive a late event
    for rows in (first, rest):
        grown.update(log(rows))
        grown.columns(*question(hour))
    same(grown.columns(*question(hour, 24, 30)), made(base + first + rest, **asked).columns(*question(hour, 24, 30)))


@given(happenings, happenings, st.integers(0, 70))
@settings(max_examples=40)
def test_nothing_that_happens_later_changes_a_column(before: list[Row], after: list[Row], hour: int) -> None:
    past, future = [row for row in before if row[2] < hour], [row for row in after if row[2] >= hour]
    asked = {"by": BY, "kinds": ("click",), "of": ("shown",)}
    known, whole = (made(rows, **asked).columns(*question(hour)) for rows in (past, past + future))
    for name, column in known.items():
        np.testing.assert_array_equal(column, whole[name], err_msg=name)


def test_a_rate_leans_on_what_others_do_until_it_is_known() -> None:
    rows = [(0, 0, 1, "shown")] * 40 + [(0, 0, 1, "click")] * 20 + [(0, 1, 1, "shown")] * 40 + [(0, 2, 1, "shown")] * 2
    rates = made(rows, kinds=("click",), of=("shown",)).columns(*question(30))["tally.rate.item.all"][:4]
    mean = 20 / 82
    assert mean < rates[0] < 0.5
    assert 0 < rates[1] < rates[2] < rates[3] == pytest.approx(mean)
    same_day = made(rows, kinds=("click",), of=("shown",)).columns(*question(5))["tally.rate.item.all"]
    assert np.isnan(same_day).all()  # nothing was known at midnight
    told = made(rows, kinds=("click",), of=("shown",), prior=(1.0, 3.0)).columns(*question(5))["tally.rate.item.all"]
    assert told[:4].tolist() == pytest.approx([21 / 44, 1 / 44, 1 / 6, 1 / 4])


def test_a_click_that_was_not_seen_to_be_shown_is_one_of_each() -> None:
    rates = made([(0, 0, 1, "click")] * 3, kinds=("click",), of=("shown",), prior=(1.0, 1.0))
    assert rates.columns(*question(5))["tally.rate.item.all"][0] == pytest.approx(4 / 5)


def test_the_prior_is_the_distribution_that_rates_were_drawn_from() -> None:
    chance = np.random.default_rng(0)
    shown = chance.integers(5, 200, 5_000).astype(np.float64)
    mean, strength = beta(chance.binomial(shown.astype(int), chance.beta(4, 36, 5_000)).astype(np.float64), shown)
    assert mean == pytest.approx(0.1, rel=0.05)
    assert strength == pytest.approx(40, rel=0.15)
    equal = chance.binomial(shown.astype(int), 0.1).astype(np.float64)
    assert beta(equal, shown)[1] > 2_000
    assert beta(shown / 2, shown)[1] == STRONGEST  # alike beyond chance
    assert np.isnan(beta(np.zeros(3), np.zeros(3))[0])
    assert beta(np.array([1.0]), np.array([2.0])) == (0.5, USUAL)


def test_events_that_are_too_many_are_stood_for_by_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happened, "RATIO", 2)
    rows = [(n % USERS, n % ITEMS, n, "click") for n in range(60)]
    few, all_of_them = made(rows[:20], most=24), made(rows)
    for row in rows[20:]:
        few.update(log([row]))
    assert sum(each.size for each in few._taken[0].held) <= 24 + 12
    same(few.columns(*question(60, 70)), all_of_them.columns(*question(60, 70)))
    assert np.isnan(few.columns(*question(10))["tally.item.all"]).all()  # no longer known, and it says so


def test_keys_that_are_too_many_are_forgotten_the_quietest_first() -> None:
    key, time = np.arange(100, dtype=np.uint64), np.arange(100)
    ledger = Ledger.of(key, time, np.array([0.0]), 40)
    assert ledger.size <= 40
    kept = ledger.asked(key, np.full(100, 200))[:, 0]
    assert kept[-ledger.size :].all()
    assert not kept[: -ledger.size].any()


def test_the_catalogue_is_followed() -> None:
    model = made([(0, 0, 1, "click")], by=("item.genres",))
    assert (
        model.columns(*question(5))["tally.item.genres.all"][1]
        != model.columns(*question(5))["tally.item.genres.all"][0]
    )
    CATALOG.put("item", np.array([1], np.int32), {"genres": objects([("Drama",)])})
    try:
        column = model.columns(*question(5))["tally.item.genres.all"]
        assert column[1] == column[0] == pytest.approx(np.log1p(1))
    finally:
        CATALOG.put("item", np.array([1], np.int32), {"genres": objects([()])})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"half_lives": ("soon",)}, "not a length of time"),
        ({"by": ()}, "by needs a group"),
        ({"by": ("item.colour",)}, "no column 'colour' of items"),
        ({"by": ("item.at",)}, "'at' is a time"),
        ({"by": ("planet",)}, "'planet' is nothing to count by"),
        ({"by": ("item * item",)}, "names a part twice"),
        ({"kinds": ("gaze",)}, "no kind of event 'gaze'"),
        ({"of": ("gaze",)}, "no kind of event 'gaze'"),
        ({"prior": (1.0,)}, "prior is empty or two numbers"),
        ({"name": "a b"}, "name is one word"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made([(0, 0, 1, "click")], **wrong)
