"""Segment arithmetic against naive references."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import ops
from shortlist.types import Candidates, Ragged, empty_items

score = st.one_of(st.just(math.nan), st.just(-math.inf), st.integers(-3, 3).map(float), st.floats(-5, 5, width=32))
tables = st.lists(st.lists(score, max_size=8), min_size=1, max_size=5)


def flat(table):
    query = np.repeat(np.arange(len(table)), [len(row) for row in table]).astype(np.int32)
    return query, np.asarray([value for row in table for value in row], np.float32)


def naive_order(row):
    return sorted(range(len(row)), key=lambda i: (-(-math.inf if math.isnan(row[i]) else np.float32(row[i])), i))


@given(tables, st.integers(0, 10))
def test_topk_is_stable_and_nan_sinks(table, k):
    query, value = flat(table)
    expected, start = [], 0
    for row in table:
        expected += [start + i for i in naive_order(row)[:k]]
        start += len(row)
    assert ops.topk(query, value, k, len(table)).tolist() == expected


@given(tables)
def test_rank_within_counts_from_one_and_keeps_nan(table):
    query, value = flat(table)
    rank = ops.rank_within(query, value, len(table))
    start = 0
    for row in table:
        order = naive_order(row)
        for place, i in enumerate(order):
            if math.isnan(row[i]):
                assert math.isnan(rank[start + i])
            else:
                assert rank[start + i] == place + 1
        start += len(row)


@given(tables)
def test_standardized_scores_have_mean_zero_and_unit_spread_and_no_gaps(table):
    table = [[value for value in row if value != -math.inf] for row in table]
    query, value = flat(table)
    (scaled,) = ops.standardize_within(query, value[None])
    for b in range(len(table)):
        known, mine = ~np.isnan(value[query == b]), scaled[query == b].astype(np.float64)
        if known.sum() > 1 and np.ptp(value[query == b][known]) > 1e-3:
            assert abs(mine[known].mean()) < 1e-4
            assert abs(mine[known].std() - 1) < 1e-3
        assert (mine[~known] == (mine[known].min() if known.any() else 0)).all()


def test_merge_keeps_each_sources_score_and_ignores_their_order():
    a = Candidates(np.int32([0, 0, 1]), np.int32([5, 3, 5]), {"score": np.float32([2, 1, 7])})
    b = Candidates(np.int32([0, 1]), np.int32([3, 9]), {"score": np.float32([4, 8])})
    merged = ops.merge({"a": a, "b": b}, 2)
    assert merged.query.tolist() == [0, 0, 1, 1]
    assert merged.item.tolist() == [3, 5, 5, 9]
    np.testing.assert_array_equal(merged.columns["a"], np.float32([1, 2, 7, np.nan]))
    np.testing.assert_array_equal(merged.columns["b"], np.float32([4, np.nan, np.nan, 8]))
    swapped = ops.merge({"b": b, "a": a}, 2)
    assert swapped.item.tolist() == merged.item.tolist()


def test_merge_of_nothing_is_empty_but_has_the_columns():
    merged = ops.merge({"a": Candidates.empty()}, 3)
    assert len(merged) == 0
    assert list(merged.columns) == ["a"]


@given(
    st.lists(st.lists(st.floats(-9, 9, width=32), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 8)
)
def test_top_of_matrix_equals_a_full_sort(rows, k):
    matrix = np.asarray(rows, np.float32)
    matrix[:, 2] = -np.inf
    found = ops.top_of_matrix(matrix, k, empty_items(len(matrix)), np.empty(0, np.bool_))
    for b, row in enumerate(rows):
        keep = [i for i in naive_order([x if i != 2 else -math.inf for i, x in enumerate(row)]) if i != 2][:k]
        assert found.item[found.query == b].tolist() == keep


def test_gather_fills_unknown_rows():
    array = np.float32([1, 2])
    assert ops.gather(array, np.int32([1, -1, 2, 0]), -9).tolist() == [2, -9, -9, 1]
    assert ops.gather(np.empty(0, np.float32), np.int32([0]), 5).tolist() == [5]


def test_top_of_matrix_proposes_what_is_permitted():
    exclude = Ragged.of([{"item": [1, 7]}, {"item": []}], {"item": np.int32})
    allowed = np.array([True, True, False])
    found = ops.top_of_matrix(np.zeros((2, 5), np.float32), 5, exclude, allowed)
    query, item = np.divmod(np.arange(10), 5)
    permitted = ops.permitted(query.astype(np.int32), item.astype(np.int32), exclude, allowed)
    assert permitted.reshape(2, 5).tolist() == [[True, False, False, True, True], [True, True, False, True, True]]
    assert (found.query * 5 + found.item).tolist() == np.flatnonzero(permitted).tolist()


@pytest.mark.parametrize("cap", [1, 2])
def test_cap_per_group_walks_in_order(cap):
    group = Ragged.of([{"code": c} for c in ([0], [0], [1], [0, 1], [2])], {"code": np.int32})
    kept = ops.cap_per_group(np.zeros(5, np.int32), group, 4, cap, 1)
    assert kept.tolist() == ([0, 2, 4] if cap == 1 else [0, 1, 2, 4])


def test_chance_depends_on_seed_and_item_only_and_is_uniform():
    seed, item = np.full(20_000, 3, np.uint64), np.arange(20_000, dtype=np.int32)
    drawn = ops.chance(seed, item)
    assert (drawn == ops.chance(seed[::-1], item[::-1])[::-1]).all()
    assert abs(drawn.mean() - 0.5) < 0.01
    assert np.histogram(drawn, 10, (0, 1))[0].min() > 1800
    assert not np.allclose(drawn, ops.chance(seed + np.uint64(1), item))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)), max_size=40))
def test_event_ids_are_equal_exactly_when_the_facts_are(facts):
    user, item, kind, time = (np.asarray([f[i] for f in facts]) for i in range(4))
    ids = ops.event_ids(
        user.astype(np.int32),
        item.astype(np.int32),
        kind.astype(np.uint8),
        kind.astype(np.float32),
        time.astype(np.int64),
    )
    assert len({tuple(each) for each in ids.tolist()}) == len(set(facts))


@given(st.integers(0, 2**32), st.booleans())
def test_the_nearest_liking_is_the_one_with_the_largest_weighted_cosine(seed, weighed):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (8, 3)).astype(np.float32)  # small numbers: zeros, repeats and exact ties
    lists = [rng.integers(0, 8, rng.integers(0, 6)).tolist() for _ in range(4)]
    liked = Ragged.of([{"item": each} for each in lists], {"item": np.int32})
    weight = rng.integers(1, 4, len(liked["item"])).astype(np.float32) if weighed else np.ones(len(liked["item"]))
    query = np.sort(rng.integers(0, 4, 12)).astype(np.int32)
    item = rng.integers(0, 8, 12).astype(np.int32)
    given_weight = (weight,) if weighed else ()
    named = ops.nearest_liked(liked, vectors[liked["item"]], query, vectors[item], *given_weight)
    assert named.dtype == np.int32
    for row in range(12):
        said = []
        for entry in range(int(liked.ptr[query[row]]), int(liked.ptr[query[row] + 1])):
            near, shown = vectors[liked["item"][entry]].astype(float), vectors[item[row]].astype(float)
            length = np.linalg.norm(near) * np.linalg.norm(shown)
            said.append(weight[entry] * float(near @ shown) / length if length else 0.0)
        if max(said, default=0) <= 0:
            assert named[row] == -1
            continue
        best = [entry for entry in range(len(said)) if said[entry] >= max(said) - 1e-6]
        mine = liked["item"][int(liked.ptr[query[row]]) + np.array(best)]
        assert named[row] in mine
        if (
            len(set(map(tuple, vectors[mine].tolist()))) == 1
            and len({weight[liked.ptr[query[row]] + b] for b in best}) == 1
        ):
            assert named[row] == mine[-1], "the newest of equals"


def test_nearest_liking_of_nothing():
    nobody, three = empty_items(2), np.ones((3, 2), np.float32)
    query = np.array([0, 0, 1], np.int32)
    assert ops.nearest_liked(nobody, np.empty((0, 2), np.float32), query, three).tolist() == [-1, -1, -1]
    one = Ragged.of([{"item": [5]}], {"item": np.int32})
    assert len(ops.nearest_liked(one, three[:1], query[:0], three[:0])) == 0
