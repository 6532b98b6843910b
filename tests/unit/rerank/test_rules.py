"""Caps, exploration slots and chains."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.rerank.caps import Caps
from shortlist.rerank.chain import Chain
from shortlist.rerank.explore import ExploreSlots
from shortlist.rerank.mmr import MmrModel
from shortlist.rerank.topn import TopN
from shortlist.stores.embedded import Embedded
from shortlist.types import Candidates, Queries


@pytest.fixture
def catalog():
    with Embedded.memory() as stores:
        yield stores.catalog


def objects(values):
    column = np.empty(len(values), object)
    column[:] = values
    return column


def put(catalog, values):
    rows = catalog.rows("item", [f"i{row}" for row in range(len(values))], create=True)
    catalog.put("item", rows, {"maker": objects(values)})


def ranked(count, **columns):
    """One query, items 0, 1, 2 ... best first."""
    score = np.arange(count, 0, -1).astype(np.float32)
    return Candidates(np.zeros(count, np.int32), np.arange(count, dtype=np.int32), {"score": score, **columns})


ONE = Queries.of([0])


def test_caps_hold_and_refill_in_score_order(catalog):
    put(catalog, ["a", "a", "a", "b", "a", "c"])
    found = ranked(6)
    assert Caps(catalog, "maker", 1).order(ONE, found, 3).tolist() == [0, 3, 5]
    assert Caps(catalog, "maker", 2).order(ONE, found, 4).tolist() == [0, 1, 3, 5]
    assert Caps(catalog, "maker", 1).order(ONE, found, 5).tolist() == [
        0,
        3,
        5,
        1,
        2,
    ]  # short: refilled without the rule


def test_caps_count_every_value_of_a_list_and_none_of_an_unknown_item(catalog):
    put(catalog, [("x", "y"), ("y",), ("z", "x"), (), ()])
    found = ranked(8)  # items 5, 6, 7 are not in the catalog
    assert Caps(catalog, "maker", 1).order(ONE, found, 6).tolist() == [0, 3, 4, 5, 6, 7]


def test_caps_notice_a_change_and_leave_unscored_rows_last(catalog):
    put(catalog, ["a", "a", "b"])
    rule = Caps(catalog, "maker", 1)
    found = ranked(3)
    assert rule.order(ONE, found, 2).tolist() == [0, 2]
    put(catalog, ["a", "b", "b"])
    assert rule.order(ONE, found, 2).tolist() == [0, 1]
    found.columns["score"][1] = np.nan
    put(catalog, ["a", "c", "a"])
    assert rule.order(ONE, found, 3).tolist() == [0, 2, 1]


def test_caps_refuse_what_cannot_be_grouped(catalog):
    rows = catalog.rows("item", ["i0"], create=True)
    catalog.put("item", rows, {"price": np.array([1.0])})
    with pytest.raises(ConfigError, match="column 'price' of the items is a number"):
        Caps(catalog, "price").order(ONE, ranked(1), 1)
    with pytest.raises(ConfigError, match="cap is 0, but must be at least 1"):
        Caps(catalog, "price", 0)


NOT = np.float32(np.nan)


def test_explore_gives_places_to_what_nobody_else_proposed():
    old = np.float32([1, 1, 1, 1, NOT, NOT, NOT, NOT])
    new = np.float32([NOT, NOT, NOT, 1, 1, 1, 1, NOT])
    found = ranked(8, knn=old, explore=new)
    pages = [ExploreSlots(slots=2).order(Queries.of([0], seed=seed), found, 5).tolist() for seed in range(60)]
    for page in pages:
        assert sum(row in (4, 5, 6) for row in page) == 2
        assert [row for row in page if row < 4] == [0, 1, 2]
    assert len({row for page in pages for row in page if row in (4, 5, 6)}) == 3
    assert len({page.index(row) for page in pages for row in page if row in (4, 5, 6)}) == 5
    assert pages == [ExploreSlots(slots=2).order(Queries.of([0], seed=seed), found, 5).tolist() for seed in range(60)]


def test_explore_is_not_used_to_fill_a_short_list():
    found = ranked(6, knn=np.float32([1, NOT, NOT, NOT, NOT, NOT]), explore=np.float32([NOT, 1, 1, 1, 1, 1]))
    assert len(ExploreSlots(slots=2).order(ONE, found, 6)) == 3
    assert ExploreSlots(slots=0).order(ONE, found, 6).tolist() == [0]


def test_explore_without_its_source_is_the_order_of_scores():
    found = ranked(5, knn=np.float32([1, NOT, 1, 1, 1]))
    assert ExploreSlots(slots=2).order(ONE, found, 3).tolist() == [0, 1, 2]
    with pytest.raises(ConfigError, match="slots is -1, but must not be negative"):
        ExploreSlots(slots=-1)


def test_a_query_may_bring_its_own_number_of_slots():
    columns = {"knn": np.tile(np.float32([1, 1, 1, 1, NOT, NOT, NOT, NOT]), 3)}
    columns |= {"explore": np.where(np.isnan(columns["knn"]), 1, NOT).astype(np.float32)}
    columns |= {"score": np.tile(np.arange(8, 0, -1).astype(np.float32), 3)}
    found = Candidates(np.repeat(np.arange(3), 8).astype(np.int32), np.arange(24, dtype=np.int32), columns)
    queries = Queries.of(
        [0, 1, 2], seed=np.arange(3, dtype=np.uint64), columns={"exploration": np.array([0, np.nan, 3])}
    )
    order = ExploreSlots(slots=1).order(queries, found, 5)
    for b, slots in enumerate((0, 1, 3)):
        page = order[found.query[order] == b] % 8
        assert (page >= 4).sum() == slots
        assert page[page < 4].tolist() == [*range(4)][: 5 - slots]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 4), st.integers(1, 8), st.integers(0, 50))
@settings(deadline=None)
def test_explore_promises(sizes, slots, k, seed):
    chance = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    size = len(query)
    columns = {
        "knn": np.where(chance.random(size) < 0.5, 1, NOT).astype(np.float32),
        "explore": np.where(chance.random(size) < 0.5, 1, NOT).astype(np.float32),
        "score": np.where(chance.random(size) < 0.8, chance.normal(size=size), NOT).astype(np.float32),
    }
    found = Candidates(query, np.arange(size, dtype=np.int32), columns)
    queries = Queries.of(np.arange(len(sizes)), seed=np.arange(len(sizes), dtype=np.uint64) + np.uint64(seed))
    order = ExploreSlots(slots=slots).order(queries, found, k)
    tried = ~np.isnan(columns["explore"]) & np.isnan(columns["knn"])
    for b in range(len(sizes)):
        page = order[query[order] == b]
        proven = np.flatnonzero((query == b) & ~tried)
        eligible = np.count_nonzero((query == b) & tried & ~np.isnan(columns["score"]))
        given = int(tried[page].sum())
        assert given == min(slots, eligible, k)
        assert len(page) == min(k, len(proven) + given)
        best = proven[ops.topk(np.zeros(len(proven), np.int32), columns["score"][proven], len(page) - given, 1)]
        assert page[~tried[page]].tolist() == best.tolist()


def test_chain_lets_each_step_see_the_order_before_it(catalog):
    put(catalog, ["a", "b", "a", "b", "c", "d"])
    alike = MmrModel(0.9, 6, np.float32([[1, 0], [1, 0], [1, 0], [1, 0], [0, 1], [1, 0]]))
    found = ranked(6)
    assert alike.order(ONE, found, 3).tolist() == [0, 4, 1]
    assert Chain((alike, Caps(catalog, "maker", 1))).order(ONE, found, 4).tolist() == [0, 4, 1, 5]
    assert Chain((Caps(catalog, "maker", 1), TopN())).order(ONE, found, 5).tolist() == [0, 1, 4, 5, 2]


def test_chain_keeps_exploration_within_its_slots(catalog):
    put(catalog, ["a"] * 8)
    new = np.float32([NOT, NOT, NOT, NOT, 1, 1, 1, 1])
    found = ranked(8, knn=np.where(np.isnan(new), np.float32(1), NOT), explore=new)
    for seed in range(20):
        page = Chain((TopN(), ExploreSlots(slots=1))).order(Queries.of([0], seed=seed), found, 4)
        assert (page >= 4).sum() == 1


def test_chain_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="steps is empty"):
        Chain(())


def test_followed_by_keeps_order_and_takes_each_row_once():
    query = np.int32([0, 0, 0, 1, 1, 2])
    order = ops.followed_by(np.array([2, 4]), np.array([0, 1, 2, 3, 4, 5]), query, 2, 4)
    assert order.tolist() == [2, 0, 4, 3, 5]
