"""Maximal marginal relevance against the paper's loop."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.rerank.mmr import WIDTH, Mmr, MmrModel
from shortlist.testing.world import synthetic
from shortlist.types import Candidates, Events, Queries


@dataclass(frozen=True)
class Placed:
    item: np.ndarray


def objects(values):
    column = np.empty(len(values), object)
    column[:] = values
    return column


def items(**columns):
    return Dataset.of(Events.empty(), 1, len(next(iter(columns.values()))), items=columns)


def naive(model, item, score, k):
    """Positions for one query, one place at a time."""
    best = sorted(range(len(item)), key=lambda row: (np.isnan(score[row]), -score[row], row))
    pool, rest = best[: model.pool], best[model.pool :]
    known = score[pool][~np.isnan(score[pool])]
    nothing = np.zeros(model.vector.shape[1], np.float32)
    vectors = [model.vector[item[row]] if item[row] < len(model.vector) else nothing for row in pool]
    picked = []
    while len(picked) < min(k, len(pool)):
        value = []
        for at, row in enumerate(pool):
            relevance = (score[row] - known.min()) / (np.ptp(known) or 1) if not np.isnan(score[row]) else 0
            likest = max((vectors[at] @ vectors[above] for above in picked), default=0)
            sunk = 1e9 if np.isnan(score[row]) else 0
            value.append(-np.inf if at in picked else (1 - model.trade) * relevance - model.trade * likest - sunk)
        picked.append(int(np.argmax(np.float32(value))))
    return ([pool[at] for at in picked] + rest)[:k]


def one_hot(trade, pool, size=30, width=4):
    """Items of one of `width` kinds or of none: every likeness is exactly 0 or 1."""
    kind = np.random.default_rng(0).integers(0, width + 1, size)
    return MmrModel(trade, pool, np.eye(width + 1, width, dtype=np.float32)[kind])


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.25, 0.75, 1.0]),
    st.integers(1, 12),
    st.integers(1, 15),
    st.integers(0, 100),
)
@settings(deadline=None, max_examples=150)
def test_order_is_the_papers_loop_for_each_query(sizes, trade, pool, k, seed):
    chance = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    score = chance.integers(0, 9, len(query)).astype(np.float32)
    score[chance.random(len(query)) < 0.2] = np.nan
    item = chance.integers(0, 34, len(query)).astype(np.int32)
    mmr = one_hot(trade, pool)
    order = mmr.order(Queries.of(np.arange(len(sizes))), Candidates(query, item, {"score": score}), k)
    for b in range(len(sizes)):
        rows = np.flatnonzero(query == b)
        assert order[query[order] == b].tolist() == [rows[at] for at in naive(mmr, item[rows], score[rows], k)]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.integers(0, 100))
@settings(deadline=None, max_examples=5)
def test_batch_equals_singles_with_any_vectors(sizes, seed):
    chance = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    found = Candidates(
        query, np.arange(len(query), dtype=np.int32), {"score": chance.normal(size=len(query)).astype(np.float32)}
    )
    vectors = chance.normal(size=(len(query), 7)).astype(np.float32)
    mmr = MmrModel(0.5, 10, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    order = mmr.order(Queries.of(np.arange(len(sizes))), found, 6)
    for b in range(len(sizes)):
        rows = np.flatnonzero(query == b)
        mine = found.take(rows)
        alone = mmr.order(Queries.of([0]), Candidates(0 * mine.query, mine.item, mine.columns), 6)
        assert order[query[order] == b].tolist() == rows[alone].tolist()


def test_a_query_may_bring_its_own_trade():
    chance = np.random.default_rng(0)
    query = np.repeat(np.arange(4), 12).astype(np.int32)
    columns = {"score": chance.integers(0, 9, 48).astype(np.float32)}
    found = Candidates(query, chance.integers(0, 30, 48).astype(np.int32), columns)
    own = np.array([np.nan, 0, 0.5, 1])
    queries = Queries.of(np.arange(4), columns={"diversity": own})
    order = one_hot(0.25, 10).order(queries, found, 6)
    for b, trade in enumerate((0.25, 0, 0.5, 1)):
        expected = one_hot(trade, 10).order(Queries.of(np.arange(4)), found, 6)
        assert order[query[order] == b].tolist() == expected[query[expected] == b].tolist()
    assert one_hot(0.25, 10).order(Queries.of(np.arange(4)), found, 6).tolist() != order.tolist()


def test_trade_zero_is_the_order_of_scores():
    world = synthetic()
    score = ops.chance(np.full(90, 3, np.uint64), np.arange(90)).astype(np.float32)
    found = Candidates(np.zeros(90, np.int32), np.arange(90, dtype=np.int32), {"score": score})
    flat = Mmr(trade=0, column="genres").fit(world.data, seed=0)
    queries = Queries.of([0])
    np.testing.assert_array_equal(flat.order(queries, found, 20), ops.topk(found.query, score, 20, 1))
    varied = Mmr(trade=0.5, column="genres").fit(world.data, seed=0).order(queries, found, 6)
    genres = world.data.items["genres"]
    assert len({genres[row][0] for row in varied}) == 6  # one of each, though scores know nothing of genres


def test_the_best_stands_first_and_its_twin_waits():
    data = items(genres=objects([("a",), ("a",), ("b",)]))
    found = Candidates(np.zeros(3, np.int32), np.arange(3, dtype=np.int32), {"score": np.float32([3, 2.9, 1])})
    order = Mmr(trade=0.6).fit(data, seed=0).order(Queries.of([0]), found, 3)
    assert order.tolist() == [0, 2, 1]


def test_vectors_of_a_column_are_shared_values_of_unit_length():
    data = items(genres=objects([("a", "b"), (), ("b",)]), maker=objects(["x", "", "x"]), year=np.zeros(3))
    by_list = Mmr().fit(data, seed=0).vector  # every list column, no text
    np.testing.assert_allclose(by_list @ by_list.T, [[1, 0, 0.5**0.5], [0, 0, 0], [0.5**0.5, 0, 1]], atol=1e-6)
    by_text = Mmr(column="maker").fit(data, seed=0).vector
    np.testing.assert_allclose(by_text @ by_text.T, [[1, 0, 1], [0, 0, 0], [1, 0, 1]])


def test_only_the_most_frequent_values_become_dimensions():
    names = [f"v{row}" for row in range(WIDTH + 50)] + ["often", "often"]
    assert Mmr(column="maker").fit(items(maker=objects(names)), seed=0).vector.shape[1] == WIDTH


def test_vectors_of_a_model():
    model = Mmr(vectors=Placed(np.float32([[3, 4], [0, 0]]))).fit(items(year=np.zeros(2)), seed=0)
    np.testing.assert_allclose(model.vector, [[0.6, 0.8], [0, 0]])


def test_without_anything_to_compare_the_scores_decide():
    model = Mmr(trade=0.9).fit(items(year=np.zeros(3)), seed=0)
    found = Candidates(np.zeros(3, np.int32), np.arange(3, dtype=np.int32), {"score": np.float32([1, 3, 2])})
    assert model.order(Queries.of([0]), found, 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Mmr(trade=1.5), "rerank.mmr: trade is 1.5, but must be between 0 and 1"),
        (Mmr(pool=0), "rerank.mmr: pool is 0, but must be at least 1"),
        (Mmr(column="genre"), "rerank.mmr: column: the items have no text or list column 'genre'"),
        (
            Mmr(column="genres", vectors=Placed(np.eye(2, dtype=np.float32))),
            "rerank.mmr: give column or vectors, not both",
        ),
    ],
)
def test_wrong_settings_are_named(recipe, message):
    with pytest.raises(ConfigError) as caught:
        recipe.fit(items(genres=objects([("a",)])), seed=0)
    assert str(caught.value) == message
