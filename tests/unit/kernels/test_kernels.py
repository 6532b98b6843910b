"""Every kernel against a naive reference, in every instruction set that this machine offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shortlist import _kernels
from shortlist.types import Ragged

ANYTHING = np.empty(0, np.bool_)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=_kernels.variants(), autouse=True, scope="module")
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _kernels.use(request.param)
    yield request.param
    _kernels.use(before)


def naive_top(scores: NDArray[Any], k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(row, item) of the k best of each row by a stable sort; -inf and NaN left out."""
    rows, items = [], []
    for row, score in enumerate(scores):
        key = np.where(np.isnan(score), -np.inf, score)
        order = np.argsort(-key, kind="stable")[:k]
        order = order[key[order] > -np.inf]
        rows.append(np.full(len(order), row))
        items.append(order)
    return np.concatenate(rows or [np.empty(0)]), np.concatenate(items or [np.empty(0)])


def some_lists(chance: np.random.Generator, queries: int, items: int) -> Ragged:
    """Lists of rows to leave out, unknown ones and repeats among them."""
    length = chance.integers(0, 12, queries)
    item = chance.integers(-2, items + 3, int(length.sum())).astype(np.int32)
    return Ragged(np.concatenate(([0], np.cumsum(length))).astype(np.int64), {"item": item})


def forbid(scores: NDArray[Any], exclude: Ragged, allowed: NDArray[np.bool_], value: float = -np.inf) -> None:
    for b in range(len(exclude)):
        for item in exclude["item"][exclude.ptr[b] : exclude.ptr[b + 1]]:
            if 0 <= item < scores.shape[1]:
                scores[b, item] = value
    for item in range(min(len(allowed), scores.shape[1])):
        if not allowed[item]:
            scores[:, item] = value


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 70), st.integers(0, 60))
def test_sum_of_rows_adds_up_rows(seed: int, height: int, width: int) -> None:
    chance = np.random.default_rng(seed)
    matrix = chance.normal(size=(height, width)).astype(np.float32)
    query = some_lists(chance, 3, height)
    weight = chance.random(len(query["item"])).astype(np.float32)
    expected = np.zeros((3, width))
    for at, (b, row) in enumerate(zip(query.owner, query["item"], strict=True)):
        if 0 <= row < height:
            expected[b] += weight[at] * matrix[row]
    found = _kernels.sum_of_rows(query.ptr, query["item"], weight, matrix)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    wanted = some_lists(chance, 3, width)
    entry = _kernels.strongest_of_rows(query.ptr, query["item"], weight, matrix, wanted.ptr, wanted["item"])
    for at, (b, column) in enumerate(zip(wanted.owner, wanted["item"], strict=True)):
        parts = {
            e: weight[e] * matrix[row, column]
            for e, row in enumerate(query["item"])
            if query.owner[e] == b and 0 <= row < height and 0 <= column < width
        }
        best = max(parts.values(), default=0)
        assert entry[at] == (max(e for e, part in parts.items() if part == best) if best > 0 else -1)
    alone = [
        _kernels.sum_of_rows(np.int64([0, len(part["item"])]), part["item"], weight[query.owner == b], matrix)
        for b, part in ((b, query.take(np.array([b]))) for b in range(3))
    ]
    assert np.array_equal(np.concatenate(alone), found)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(0, 30), st.integers(1, 40))
def test_products_are_inner_products_of_what_is_known(seed: int, items: int, dim: int) -> None:
    chance = np.random.default_rng(seed)
    user, item = (chance.normal(size=(n, dim)).astype(np.float32) for n in (3, items))
    user[1] = 0
    query, wanted = (
        np.sort(chance.integers(0, 3, 40)).astype(np.int32),
        chance.integers(-2, items + 3, 40).astype(np.int32),
    )
    found = _kernels.products(user, item, query, wanted)
    known = (query != 1) & (wanted >= 0) & (wanted < items)
    assert np.array_equal(np.isnan(found), ~known)
    np.testing.assert_allclose(found[known], (user[query[known]] * item[wanted[known]]).sum(axis=1), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 5), st.integers(0, 90), st.integers(0, 40))
def test_top_of_matrix_is_a_stable_sort(seed: int, rows: int, width: int, k: int) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.integers(-3, 4, (rows, width)).astype(np.float32)  # many ties
    scores[chance.random((rows, width)) < 0.1] = np.nan
    scores[chance.random((rows, width)) < 0.1] = -np.inf
    exclude, allowed = some_lists(chance, rows, width), chance.random(int(chance.integers(0, width + 1))) < 0.7
    least = float(chance.choice([-np.finfo(np.float32).max, 0, 2]))
    row, item, score = _kernels.top_of_matrix(scores, k, exclude.ptr, exclude["item"], allowed, least)
    forbid(scores, exclude, allowed)
    scores[scores < least] = -np.inf
    expected_row, expected_item = naive_top(scores, k)
    assert np.array_equal(row, expected_row)
    assert np.array_equal(item, expected_item)
    assert np.array_equal(score, scores[row, item])


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 900), st.integers(1, 60), st.sampled_from([0.1, 1, 15]))
def test_top_of_matrix_is_a_sort_however_the_scores_lie(seed: int, width: int, k: int, spread: float) -> None:
    chance = np.random.default_rng(seed)
    scores = np.exp(spread * chance.normal(size=(2, width))).astype(np.float32)
    scores[1] *= -1
    row, item, _ = _kernels.top_of_matrix(scores, k, np.zeros(3, np.int64), np.empty(0, np.int32), ANYTHING)
    expected_row, expected_item = naive_top(scores, k)
    assert np.array_equal(row, expected_row)
    assert np.array_equal(item, expected_item)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(1, 200))
def test_contains_finds_what_the_list_of_the_query_holds(seed: int, queries: int, items: int) -> None:
    chance = np.random.default_rng(seed)
    lists = some_lists(chance, queries, items)
    query, item = chance.integers(0, queries, 50).astype(np.int32), chance.integers(-1, items + 9, 50).astype(np.int32)
    held = [set(lists["item"][lists.ptr[b] : lists.ptr[b + 1]].tolist()) - {-1} for b in range(queries)]
    expected = [each in held[b] for b, each in zip(query.tolist(), item.tolist(), strict=True)]
    assert _kernels.contains(lists.ptr, lists["item"], query, item).tolist() == expected
    with pytest.raises(ValueError, match="a query has no list"):
        _kernels.contains(lists.ptr, lists["item"], query + np.int32(queries), item)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 150), st.integers(1, 200), st.integers(1, 40), st.integers(1, 30), st.integers(1, 3))
def test_top_of_product_is_exact(seed: int, queries: int, items: int, dim: int, k: int, threads: int) -> None:
    chance = np.random.default_rng(seed)
    user = chance.integers(-2, 3, (queries, dim)).astype(np.float32)  # whole numbers: exact products, many ties
    item = chance.integers(-2, 3, (items, dim)).astype(np.float32)
    exclude, allowed = some_lists(chance, queries, items), chance.random(items // 2 + chance.integers(0, items)) < 0.8
    found = _kernels.top_of_product(user, item, k, exclude.ptr, exclude["item"], allowed, threads)
    scores = user @ item.T
    forbid(scores, exclude, allowed)
    scores[~user.any(axis=1)] = -np.inf  # a vector of zeros has no opinion
    row, column = naive_top(scores, k)
    assert np.array_equal(found[0], row)
    assert np.array_equal(found[1], column)
    assert np.array_equal(found[2], scores[found[0], found[1]])


def test_top_of_product_stops_early_and_stays_exact() -> None:
    chance = np.random.default_rng(1)
    item = chance.standard_normal((3000, 24)).astype(np.float32) * chance.gamma(0.3, 1, (3000, 1)).astype(np.float32)
    user = chance.standard_normal((130, 24)).astype(np.float32)
    nothing = np.zeros(131, np.int64), np.empty(0, np.int32)
    found = _kernels.top_of_product(user, item, 20, *nothing, ANYTHING)
    expected = np.sort(user.astype(np.float64) @ item.T.astype(np.float64), axis=1)[:, ::-1][:, :20]
    np.testing.assert_allclose(found[2].reshape(130, 20), expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 80), st.integers(1, 70), st.integers(1, 30))
def test_top_of_spread_is_a_sparse_product(seed: int, queries: int, width: int, k: int) -> None:
    chance = np.random.default_rng(seed)
    height = int(chance.integers(1, 40))
    dense = np.where(chance.random((height, width)) < 0.2, chance.integers(1, 4, (height, width)), 0).astype(np.float32)
    matrix = as_lists(dense)
    asked = some_lists(chance, queries, height)
    weight = chance.integers(1, 3, len(asked["item"])).astype(np.float32)
    exclude, allowed = some_lists(chance, queries, width), chance.random(chance.integers(0, 2 * width)) < 0.8
    found = _kernels.top_of_spread(
        asked.ptr,
        asked["item"],
        weight,
        matrix.ptr,
        matrix["item"],
        matrix["score"],
        width,
        k,
        exclude.ptr,
        exclude["item"],
        allowed,
    )
    scores = np.zeros((queries, width), np.float32)
    for b, row, w in zip(asked.owner, asked["item"], weight, strict=True):
        if 0 <= row < height:
            scores[b] += w * dense[row]
    forbid(scores, exclude, allowed)
    scores[scores <= 0] = -np.inf
    row, column = naive_top(scores, k)
    assert np.array_equal(found[0], row)
    assert np.array_equal(found[1], column)
    assert np.array_equal(found[2], scores[found[0], found[1]])


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 60), st.integers(1, 200), st.floats(0, 0.5), st.integers(1, 30))
def test_neighbours_are_the_largest_similarities(seed: int, users: int, items: int, density: float, k: int) -> None:
    chance = np.random.default_rng(seed)
    taken = chance.random((users, items)) < density
    dense = np.where(taken, chance.integers(1, 4, (users, items)), 0).astype(np.float32)
    norm = chance.integers(1, 3, items).astype(np.float32)
    left, right = as_lists(dense.T), as_lists(dense)
    row, column, score = _kernels.neighbours(
        left.ptr, left["item"], left["score"], right.ptr, right["item"], right["score"], norm, norm, 2.0, k
    )
    similarity = (dense.T @ dense) / (norm[:, None] * norm + np.float32(2))
    np.fill_diagonal(similarity, 0)
    similarity[similarity == 0] = -np.inf
    expected_row, expected_column = naive_top(similarity, k)
    assert np.array_equal(row, expected_row)
    assert np.array_equal(column, expected_column)
    np.testing.assert_allclose(score, similarity[row, column], rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 70), st.integers(1, 30), st.sampled_from([16, 32, 48, 64, 80]), st.sampled_from([0, 1]))
def test_least_squares_solves_the_normal_equations(seed: int, rows: int, others: int, dim: int, exact: int) -> None:
    chance = np.random.default_rng(seed)
    lists = as_lists((chance.random((rows, others)) < 0.4).astype(np.float32))
    y = chance.standard_normal((others, dim)).astype(np.float32)
    weight = chance.random(len(lists["item"])).astype(np.float32)
    target = chance.standard_normal(len(lists["item"])).astype(np.float32)
    gram, reg = _kernels.gram(y) * np.float32(0.1), (1 + chance.random(rows)).astype(np.float32)
    x = chance.standard_normal((rows, dim)).astype(np.float32)
    _kernels.least_squares(x, y, lists.ptr, lists["item"], weight, target, gram, reg, 0 if exact else 4 * dim)
    for r in range(rows):
        entry = slice(lists.ptr[r], lists.ptr[r + 1])
        mine = y[lists["item"][entry]].astype(np.float64)
        system = 0.1 * y.T.astype(np.float64) @ y + (mine * weight[entry, None]).T @ mine + reg[r] * np.eye(dim)
        expected = np.linalg.solve(system, mine.T @ target[entry])
        np.testing.assert_allclose(x[r], expected, rtol=2e-3, atol=2e-4)


def test_steps_of_the_descent_approach_the_solution() -> None:
    chance = np.random.default_rng(5)
    lists = as_lists((chance.random((40, 200)) < 0.3).astype(np.float32))
    y = chance.standard_normal((200, 32)).astype(np.float32)
    one, reg = np.ones(len(lists["item"]), np.float32), np.full(40, 2, np.float32)

    def solved(steps: int) -> NDArray[np.float32]:
        x = np.zeros((40, 32), np.float32)
        _kernels.least_squares(x, y, lists.ptr, lists["item"], one, one, _kernels.gram(y), reg, steps)
        return x

    error = [float(np.abs(solved(steps) - solved(0)).max()) for steps in (1, 2, 4, 8)]
    assert error == sorted(error, reverse=True)
    assert error[-1] < 1e-3


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    chance = np.random.default_rng(2)
    user = chance.standard_normal((700, 48)).astype(np.float32)
    item = chance.standard_normal((900, 48)).astype(np.float32)
    nothing = np.zeros(701, np.int64), np.empty(0, np.int32)
    one = _kernels.top_of_product(user, item, 15, *nothing, ANYTHING, 1)
    many = _kernels.top_of_product(user, item, 15, *nothing, ANYTHING, threads)
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))
    assert np.array_equal(_kernels.gram(user, 1), _kernels.gram(user, threads))
    lists = as_lists((chance.random((700, 900)) < 0.05).astype(np.float32))
    x = [user.copy(), user.copy()]
    for each, count in zip(x, (1, threads), strict=True):
        columns = lists.ptr, lists["item"], lists["score"], lists["score"]
        _kernels.least_squares(each, item, *columns, _kernels.gram(item), np.ones(700, np.float32), 2, count)
    assert np.array_equal(*x)


def test_gram_is_the_product() -> None:
    y = np.random.default_rng(3).integers(-3, 4, (57, 48)).astype(np.float32)
    assert np.array_equal(_kernels.gram(y), y.T @ y)


def test_what_does_not_fit_is_refused() -> None:
    ptr, item, value = np.array([0, 1], np.int64), np.array([9], np.int32), np.ones(1, np.float32)
    square, one = np.zeros((16, 16), np.float32), np.ones(1, np.float32)
    with pytest.raises(ValueError, match="users have 3 dimensions and items 4: they must be equal"):
        _kernels.top_of_product(np.ones((1, 3), np.float32), np.ones((2, 4), np.float32), 1, ptr, item, ANYTHING)
    with pytest.raises(ValueError, match="index runs from 9 to 9, but must stay inside 0"):
        _kernels.least_squares(square[:1], square[:3], ptr, item, value, value, square, one, 1)
    with pytest.raises(ValueError, match="15 dimensions: pad with zeros to a multiple of 16"):
        _kernels.gram(np.zeros((2, 15), np.float32))
    with pytest.raises(ValueError, match="no variant abacus on this machine"):
        _kernels.use("abacus")


def as_lists(dense: NDArray[np.float32]) -> Ragged:
    ptr = np.concatenate(([0], np.cumsum((dense != 0).sum(axis=1)))).astype(np.int64)
    row, column = np.nonzero(dense)
    return Ragged(ptr, {"item": column.astype(np.int32), "score": dense[row, column]})


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 80), st.integers(1, 70))
def test_parts_of_spread_are_those_of_the_sparse_product(seed: int, queries: int, width: int) -> None:
    chance = np.random.default_rng(seed)
    height = int(chance.integers(1, 40))
    dense = np.where(chance.random((height, width)) < 0.2, chance.integers(1, 4, (height, width)), 0).astype(np.float32)
    matrix = as_lists(dense)
    asked, wanted = some_lists(chance, queries, height), some_lists(chance, queries, width)
    weight = chance.integers(1, 3, len(asked["item"])).astype(np.float32)
    question = asked.ptr, asked["item"], weight, matrix.ptr, matrix["item"], matrix["score"]
    sums = _kernels.sums_of_spread(*question, width, wanted.ptr, wanted["item"])
    strongest = _kernels.strongest_of_spread(*question, width, wanted.ptr, wanted["item"])
    whole = _kernels.sum_of_spread(*question, width)
    entries = _kernels.entries(whole, wanted.owner, wanted["item"], least=0.5)
    np.testing.assert_array_equal(entries, sums)
    for at, (b, column) in enumerate(zip(wanted.owner, wanted["item"], strict=True)):
        parts = {}
        for entry in range(asked.ptr[b], asked.ptr[b + 1]):
            row = asked["item"][entry]
            if 0 <= row < height and 0 <= column < width and dense[row, column]:
                parts[entry] = weight[entry] * dense[row, column]
        if parts:
            assert sums[at] == sum(parts.values())
            assert strongest[at] == max(parts, key=lambda entry: (parts[entry], entry))
        else:
            assert np.isnan(sums[at])
            assert strongest[at] == -1


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 30), st.integers(1, 40))
def test_upper_product_is_the_upper_triangle_of_the_product(seed: int, rows: int, middle: int) -> None:
    chance = np.random.default_rng(seed)
    dense = np.where(chance.random((middle, rows)) < 0.3, chance.integers(1, 4, (middle, rows)), 0).astype(np.float32)
    right, left = as_lists(dense), as_lists(dense.T)
    question = left.ptr, left["item"], left["score"], right.ptr, right["item"], right["score"]
    np.testing.assert_array_equal(_kernels.upper_product(*question, rows), np.triu(dense.T @ dense))


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 20))
def test_strongest_of_squares_has_the_largest_part_of_the_solution(seed: int, others: int) -> None:
    chance = np.random.default_rng(seed)
    other = chance.normal(size=(others, 16)).astype(np.float32)
    lists, wanted = some_lists(chance, 3, others), some_lists(chance, 3, others)
    lists = lists.where((lists["item"] >= 0) & (lists["item"] < others))
    weight, reg = chance.random(len(lists["item"])).astype(np.float32) + 0.1, np.float32([0.5, 1, 2])
    gram = (0.1 * other.T @ other).astype(np.float32)
    entry = _kernels.strongest_of_squares(
        other, lists.ptr, lists["item"], weight, gram, reg, wanted.ptr, wanted["item"]
    )
    for at, (b, item) in enumerate(zip(wanted.owner, wanted["item"], strict=True)):
        mine = np.flatnonzero(lists.owner == b)
        if not (0 <= item < others) or not len(mine):
            assert entry[at] == -1
            continue
        y, w = other[lists["item"][mine]].astype(np.float64), weight[mine]
        system = gram + (y * w[:, None]).T @ y + reg[b] * np.eye(16)
        part = w * (y @ np.linalg.solve(system, other[item]))
        if abs(part.max()) > 1e-5:
            assert (entry[at] >= 0) == (part.max() > 0)
        if entry[at] >= 0:
            assert part[mine.tolist().index(entry[at])] >= part.max() - 1e-5


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 90), st.integers(1, 5), st.floats(0, 1))
def test_nearest_codes_are_those_with_the_fewest_other_bits(seed: int, size: int, words: int, share: float) -> None:
    chance = np.random.default_rng(seed)
    code, asked = (chance.integers(0, 2**8, (rows, words)).astype(np.uint64) for rows in (size, 3))
    open_ = chance.random(size) < share
    count = int(chance.integers(0, size + 1))
    apart = np.bitwise_count(code[None] ^ asked[:, None]).sum(axis=2).astype(np.int64)
    for mask in (ANYTHING, open_):
        found = _kernels.nearest_codes(code, asked, count, mask)
        assert found.shape == (3, count)
        for b in range(3):
            those = np.flatnonzero(mask) if len(mask) else np.arange(size)
            best = np.sort(those[np.argsort(apart[b, those], kind="stable")[:count]])
            assert found[b].tolist() == best.tolist() + [-1] * (count - len(best))


def test_codes_that_do_not_fit_are_refused() -> None:
    code = np.zeros((4, 2), np.uint64)
    for asked, count, open_ in ((code[:, :1], 1, ANYTHING), (code, 5, ANYTHING), (code, 1, np.ones(3, np.bool_))):
        with pytest.raises(ValueError, match="must"):
            _kernels.nearest_codes(code, np.ascontiguousarray(asked), count, open_)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(0, 4), st.integers(0, 60), st.integers(0, 12))
def test_top_of_places_weighs_what_was_found(seed: int, queries: int, width: int, k: int) -> None:
    chance = np.random.default_rng(seed)
    held, asked = (chance.normal(size=(rows, 7)).astype(np.float32) for rows in (40, queries))
    asked[chance.random(queries) < 0.2] = np.nan
    place = np.stack([chance.permutation(60)[:width] for _ in range(queries)]) if queries else np.empty((0, width))
    place = np.where(chance.random(place.shape) < 0.2, -1, place).astype(np.int64)
    found, score = _kernels.top_of_places(asked, held, place, k)
    assert found.shape == score.shape == (queries, k)
    for b in range(queries):
        mine = place[b][(place[b] >= 0) & (place[b] < 40) & np.isfinite(asked[b]).all()]
        value = held[mine] @ asked[b]
        best = np.argsort(-value, kind="stable")[:k]
        assert found[b].tolist() == mine[best].tolist() + [-1] * (k - len(best))
        np.testing.assert_allclose(score[b, : len(best)], value[best], rtol=1e-4, atol=1e-5)
        assert np.isnan(score[b, len(best) :]).all()
