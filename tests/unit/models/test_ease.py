from dataclasses import replace

import numpy as np
import pytest

from shortlist.errors import ConfigError
from shortlist.models.ease import Ease
from shortlist.testing.world import checkerboard, synthetic
from shortlist.types import HISTORY, Candidates, Queries, Ragged


def naive(matrix: np.ndarray, reg: float) -> np.ndarray:
    """The paper's four lines, in double precision."""
    precision = np.linalg.inv(matrix.T @ matrix + reg * np.eye(matrix.shape[1]))
    weight = precision / -np.diag(precision)
    np.fill_diagonal(weight, 0)
    return weight


def test_weights_are_those_of_the_paper():
    data = synthetic().data
    dense = data.matrix.toarray().astype(np.float64)
    seen = dense.any(axis=0)
    model = Ease(reg=20).fit(data, seed=0)
    assert np.array_equal(model.item, np.flatnonzero(seen))
    np.testing.assert_allclose(model.weight, naive(dense, 20)[np.ix_(seen, seen)], atol=1e-5)


def test_of_many_items_the_most_liked_take_part():
    data = synthetic().data
    likes = np.diff(data.matrix.tocsc().indptr)
    model = Ease(reg=20, most=10).fit(data, seed=0)
    assert len(model.item) == 10
    assert likes[model.item].min() >= np.delete(likes, model.item).max()
    dense = data.matrix.toarray().astype(np.float64)[:, model.item]
    np.testing.assert_allclose(model.weight, naive(dense, 20), atol=1e-5)


def test_weights_are_those_of_the_paper_beyond_one_block():
    data = synthetic(users=200, items=700, events=6_000).data
    dense = data.matrix.toarray().astype(np.float64)
    seen = dense.any(axis=0)
    weight = Ease(reg=50).fit(data, seed=0).weight
    np.testing.assert_allclose(weight, naive(dense, 50)[np.ix_(seen, seen)], atol=1e-5)


def test_the_withheld_item_of_the_checkerboard_comes_first():
    world = checkerboard()
    queries = world.queries()
    queries = queries.with_exclude(Ragged(queries.history.ptr, {"item": queries.history["item"]}))
    found = Ease(reg=1).fit(world.data, seed=0).recall(queries, 1)
    assert np.array_equal(found.item, world.withheld)


def test_scores_add_up_the_decayed_history():
    world = synthetic()
    model = Ease(reg=20, half_life=2).fit(world.data, seed=0)
    first, second = model.item[[3, 5]]
    liked = [(first, 2.0), (9, 0.0), (4, -1.0), (second, 1.0)]  # the middle two say nothing and age nobody
    history = {
        "item": [item for item, _ in liked],
        "kind": [2] * 4,
        "value": [1] * 4,
        "weight": [weight for _, weight in liked],
        "time": [1, 2, 3, 4],
    }
    queries = Queries.of([-1], history=Ragged.of([history], HISTORY))
    expected = 2.0 * 0.5**0.5 * model.weight[3] + model.weight[5]
    asked = Candidates(np.zeros(len(model.item), np.int32), model.item)
    np.testing.assert_allclose(model.score(queries, asked), expected, rtol=1e-4, atol=1e-6)


def test_because_is_the_liking_with_the_largest_part():
    world = synthetic()
    model = Ease(reg=20, half_life=3).fit(world.data, seed=0)
    queries = world.queries()
    found = model.recall(queries, 5)
    plain = replace(model, half_life=0.0)
    why = plain.because(queries, found)
    for row in range(0, len(found), 7):
        mine = queries.take(found.query[row : row + 1]).history
        weight = model.weight[model.place[mine["item"]], model.place[found.item[row]]]
        part = np.where((mine["weight"] > 0) & (model.place[mine["item"]] >= 0), mine["weight"] * weight, 0)
        best = mine["item"][part == part.max()] if part.max() > 0 else [-1]
        assert why[row] in best


@pytest.mark.parametrize("reg", [0.0, -1.0, float("nan")])
def test_a_ridge_that_is_no_ridge_is_refused(reg):
    with pytest.raises(ConfigError, match="must be greater than 0") as caught:
        Ease(reg=reg).fit(synthetic().data, seed=0)
    assert caught.value.where == "models.ease"


def test_a_ridge_too_small_for_float32_is_refused():
    with pytest.raises(ConfigError, match="cannot be inverted") as caught:
        Ease(reg=1e-20).fit(synthetic(users=5).data, seed=0)
    assert caught.value.hint == "give a larger reg"
