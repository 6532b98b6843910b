"""Linear and graph models of closed form against the formulas of their papers in double precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.data import movielens
from shortlist.data.frames import to_dataset
from shortlist.dataset import DAY
from shortlist.errors import ConfigError
from shortlist.eval import baselines, offline
from shortlist.eval.protocol import Split, leave_last
from shortlist.models.bspm import Bspm, sharpening
from shortlist.models.dan import Dan
from shortlist.models.dense import DenseItems
from shortlist.models.edlae import Edlae
from shortlist.models.gfcf import GfCf
from shortlist.models.graph_filter import GraphFilter, singular_vectors
from shortlist.models.rp3beta import Rp3Beta
from shortlist.models.slim import Slim
from shortlist.models.slist import Slist
from shortlist.models.sparse import SparseItems
from shortlist.models.turbocf import TurboCf
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Queries

Matrix = NDArray[Any]


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic()


def likings(world: World) -> tuple[Matrix, Matrix]:
    """(U, I) what is liked, and which items somebody likes."""
    matrix = world.data.matrix.toarray().astype(np.float64)
    return matrix, np.asarray(matrix.any(axis=0))


def whole(model: SparseItems | DenseItems) -> Matrix:
    """The model's item-item matrix, zeros where it has nothing."""
    if isinstance(model, DenseItems):
        matrix = np.zeros((len(model.place), len(model.place)))
        matrix[np.ix_(model.item, model.item)] = model.weight
        return matrix
    matrix = np.zeros((len(model.neighbour), len(model.neighbour)))
    matrix[model.neighbour.owner, model.neighbour["item"]] = model.neighbour["score"]
    return matrix


def spread_out(weight: Matrix, seen: Matrix) -> Matrix:
    """A matrix of the items that are seen among all."""
    matrix = np.zeros((len(seen), len(seen)))
    matrix[np.ix_(seen, seen)] = weight
    return matrix


def hollow(inverse: Matrix) -> Matrix:
    """The regression of every item on the others, from the inverse of the ridged gram matrix."""
    weight = inverse / -np.diag(inverse)
    np.fill_diagonal(weight, 0)
    return weight


@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_edlae_is_ease_with_a_ridge_for_drop_out(world: World, drop: float) -> None:
    x, seen = likings(world)
    gram = x[:, seen].T @ x[:, seen]
    ridge = 20 * np.eye(len(gram)) + drop / (1 - drop) * np.diag(np.diag(gram))
    expected = spread_out(hollow(np.linalg.inv(gram + ridge)), seen)
    np.testing.assert_allclose(whole(Edlae(drop=drop, reg=20).fit(world.data, seed=0)), expected, atol=1e-5)


def test_edlae_is_what_dropping_likings_gives_on_average(world: World) -> None:
    """Regression on very many dropped-out copies of the likings, the closed form being its limit."""
    x, seen = likings(world)
    x, drop = x[:, seen], 0.5
    chance = np.random.default_rng(0)
    gram, cross, rounds = np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1],) * 2), 3000
    for _ in range(rounds):
        kept = x * (chance.random(x.shape) >= drop)
        gram += kept.T @ kept / rounds
        cross += kept.T @ x / rounds
    weight = whole(Edlae(drop=drop, reg=0.001).fit(world.data, seed=0))[np.ix_(seen, seen)]
    inverse = np.linalg.inv(gram + 0.001 * (1 - drop) ** 2 * np.eye(len(gram)))
    sampled = inverse @ (cross - np.diag(np.diag(inverse @ cross) / np.diag(inverse)))
    fits = [np.linalg.norm(x - x @ each) for each in (weight, (1 - drop) * sampled)]
    assert abs(fits[0] - fits[1]) < 0.1 * fits[1]
    assert np.corrcoef(weight.ravel(), sampled.ravel())[0, 1] > 0.99


def test_dan_is_ease_on_the_normalised_gram_matrix(world: World) -> None:
    x, seen = likings(world)
    x, a, b = x[:, seen], 0.3, 0.4
    item, user = x.sum(axis=0), np.maximum(x.sum(axis=1), 1e-12)
    gram = np.diag(item ** -(1 - a)) @ x.T @ np.diag(user**-b) @ x @ np.diag(item**-a)
    expected = spread_out(hollow(np.linalg.inv(gram + 2 * np.eye(len(gram)))), seen)
    model = Dan(reg=2, item_power=a, user_power=b).fit(world.data, seed=0)
    np.testing.assert_allclose(whole(model), expected, atol=1e-5)


def descended(gram: Matrix, l1: float, l2: float, sweeps: int) -> Matrix:
    """Coordinate descent as in a textbook: (S, S), column j predicts item j."""
    weight = np.zeros_like(gram)
    for j in range(len(gram)):
        for _ in range(sweeps):
            for i in range(len(gram)):
                if i != j and gram[i, i] > 0:
                    rest = gram[i, j] - gram[i] @ weight[:, j] + gram[i, i] * weight[i, j]
                    weight[i, j] = max(0.0, rest - l1) / (gram[i, i] + l2)
    return weight


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0.0, 0.5, 3.0]), st.sampled_from([0.5, 5.0]))
def test_the_elastic_net_is_the_textbooks(seed: int, items: int, l1: float, l2: float) -> None:
    chance = np.random.default_rng(seed)
    x = (chance.random((20, items)) < 0.4) * chance.integers(1, 4, (20, items))
    gram = (x.T @ x).astype(np.float32)
    target, source, weight = _kernels.elastic_net(gram, l1, l2, 20, 0.0)
    found = np.zeros((items, items))
    found[source, target] = weight
    np.testing.assert_allclose(found, descended(gram.astype(np.float64), l1, l2, 20), atol=2e-4)


def test_slim_meets_the_conditions_of_its_minimum(world: World) -> None:
    """The gradient is 0 where a weight is above 0, and not below 0 elsewhere (Karush, Kuhn, Tucker)."""
    x, seen = likings(world)
    weight = whole(Slim(l1=1, l2=5, sweeps=500, tolerance=1e-6).fit(world.data, seed=0))
    assert weight.min() == 0
    assert not np.diag(weight).any()
    assert not weight[~seen].any()
    assert 0.01 < (weight > 0).mean() < 0.5
    gradient = x.T @ (x @ weight - x) + 5 * weight + 1
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient[weight > 0]).max() < 1e-2
    assert gradient.min() > -1e-2


def test_rp3beta_is_a_walk_of_three_steps(world: World) -> None:
    x, seen = likings(world)
    with np.errstate(invalid="ignore", divide="ignore"):
        to_item = np.nan_to_num(x / x.sum(axis=1, keepdims=True)) ** 0.7
        to_user = np.nan_to_num(x.T / x.sum(axis=0)[:, None]) ** 0.7
    expected = to_user @ to_item / np.where(seen, x.sum(axis=0), 1) ** 0.4
    np.fill_diagonal(expected, 0)
    model = Rp3Beta(neighbours=1000, alpha=0.7, beta=0.4).fit(world.data, seed=0)
    np.testing.assert_allclose(whole(model), expected, rtol=1e-4, atol=1e-8)
    few = whole(Rp3Beta(neighbours=5, alpha=0.7, beta=0.4).fit(world.data, seed=0))
    assert (few > 0).sum(axis=1).max() == 5
    np.testing.assert_allclose(few.max(axis=1), expected.max(axis=1), rtol=1e-4)


def normalised(x: Matrix, user_power: float = 0.5, item_power: float = 0.5) -> Matrix:
    user, item = x.sum(axis=1, keepdims=True), x.sum(axis=0)
    return x / np.where(user > 0, user, 1) ** user_power / np.where(item > 0, item, 1) ** item_power


@pytest.mark.parametrize("order", [1, 2, 3])
def test_turbo_cf_is_its_polynomial(world: World, order: int) -> None:
    x, _ = likings(world)
    first = normalised(x, 0.6, 0.4)
    p = (first.T @ first) ** 0.8
    if order > 1:
        p /= np.linalg.eigvalsh(p)[-1]
    expected = {1: p, 2: 2 * p - p @ p, 3: p + 0.01 * (-p @ p @ p + 10 * p @ p - 29 * p)}[order]
    found = whole(TurboCf(alpha=0.6, power=0.8, order=order).fit(world.data, seed=0))
    if order == 1:
        np.fill_diagonal(expected, 0)  # an item says nothing about itself
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def said(model: GraphFilter, world: World) -> Matrix:
    """(U, I) the model's scores of all items for all who like something, NaN where it has none."""
    users = np.arange(world.data.n_users, dtype=np.int32)
    queries = Queries.of(users, history=world.data.histories(users))
    item = np.tile(np.arange(world.data.n_items, dtype=np.int32), len(users))
    found = Candidates(np.repeat(users, world.data.n_items), item)
    return model.score(queries, found).reshape(len(users), -1).astype(np.float64)


def blurred(x: Matrix, factors: int, strength: float, power: float, rolloff: float) -> tuple[Matrix, Matrix]:
    """The likings after the linear filter and the low-pass, and the linear filter, whose largest value is 1."""
    first = normalised(x, power)
    _, values, vectors = np.linalg.svd(first)
    first, vector = first / values[0], vectors[:factors]
    p, item = first.T @ first, x.sum(axis=0)
    scale = np.sqrt(np.where(item > 0, item, 1))
    weight = strength * (values[:factors, None] / values[0]) ** (2 * rolloff)
    return x @ p + (x / scale) @ vector.T @ (weight * vector) * scale, p


POWERS = pytest.mark.parametrize(("power", "rolloff", "item_power"), [(0.5, 0.0, 0.0), (0.2, 0.25, 0.3)])


@POWERS
def test_gf_cf_is_a_linear_filter_and_a_low_pass(world: World, power: float, rolloff: float, item_power: float) -> None:
    x, seen = likings(world)
    recipe = GfCf(factors=60, strength=0.3, rolloff=rolloff, user_power=power, item_power=item_power)  # all 60 vectors
    found = said(recipe.fit(world.data, seed=0), world)
    expected = blurred(x, 60, 0.3, power, rolloff)[0] * x.sum(axis=0) ** item_power
    lists = x.any(axis=1)
    np.testing.assert_allclose(found[np.ix_(lists, seen)], expected[np.ix_(lists, seen)], rtol=1e-3, atol=1e-4)
    assert np.isnan(found[:, ~seen]).all()
    assert np.isnan(found[~lists]).all()


@POWERS
def test_bspm_sharpens_by_runge_and_kutta(world: World, power: float, rolloff: float, item_power: float) -> None:
    x, seen = likings(world)
    state, p = blurred(x, 60, 0.2, power, rolloff)
    step = 2.0 / 3
    for _ in range(3):
        k1 = -state @ p
        k2 = -(state + step / 2 * k1) @ p
        k3 = -(state + step / 2 * k2) @ p
        k4 = -(state + step * k3) @ p
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    state = state * x.sum(axis=0) ** item_power
    given = {"rolloff": rolloff, "user_power": power, "item_power": item_power}
    found = said(Bspm(factors=60, strength=0.2, time=2.0, steps=3, **given).fit(world.data, seed=0), world)
    lists = x.any(axis=1)
    np.testing.assert_allclose(found[np.ix_(lists, seen)], state[np.ix_(lists, seen)], rtol=1e-2, atol=2e-3)


def test_without_time_nothing_is_sharpened() -> None:
    assert sharpening(0.0, 2).tolist() == [1.0]


def test_reasons_of_a_filter_are_the_likings_with_the_largest_part(world: World) -> None:
    model = GfCf(factors=8, user_power=0.5, half_life=3).fit(world.data, seed=0)
    queries = world.queries()
    found = model.recall(queries, 4)
    why, liked = model.because(queries, found), ops.liked(queries.history, 3, world.data.n_items)
    x = np.eye(world.data.n_items)
    first = normalised(likings(world)[0])
    response = (x @ first.T @ first + model.into.astype(np.float64) @ model.out.T) * model.scale
    for row in range(0, len(found), 5):
        mine = slice(liked.ptr[found.query[row]], liked.ptr[found.query[row] + 1])
        part = liked["weight"][mine] * response[liked["item"][mine], found.item[row]]
        assert part[liked["item"][mine] == why[row]].max() == pytest.approx(part.max(), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_singular_vectors_span_what_lapacks_do(seed: int) -> None:
    chance = np.random.default_rng(seed)
    x = np.float32(chance.random((40, 25)) < 0.3) + np.float32(5) * np.outer(chance.random(40), chance.random(25))
    found, values = singular_vectors(csr_array(x.astype(np.float32)), 6, seed % 7)
    _, true, expected = np.linalg.svd(x)
    expected = expected[:6]
    np.testing.assert_allclose(values, true[:6], rtol=1e-2)
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-4)
    np.testing.assert_allclose(found @ found.T, expected.T @ expected, atol=1e-2)


@pytest.mark.parametrize("copies", [1, 2], ids=["independent", "dependent"])
def test_singular_vectors_are_orthonormal_even_of_items_that_are_the_same(copies: int) -> None:
    x = np.float32(np.random.default_rng(5).random((400, 150)) < 0.1)
    x = np.concatenate([x] * copies, axis=1)
    found, values = singular_vectors(csr_array(x), 180, 0)
    true = np.linalg.svd(x)[1]
    size = min(180, x.shape[1])
    assert found.shape == (x.shape[1], size)
    np.testing.assert_allclose(found.T @ found, np.eye(size), atol=1e-4)
    np.testing.assert_allclose(values, true[:size], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("whole_share", "days"), [(0.0, 0.0), (0.4, 30.0)])
def test_slist_is_the_regression_of_what_comes_after(world: World, whole_share: float, days: float) -> None:
    recipe = Slist(reg=5, past=2, future=1, whole=whole_share, days=days)
    data, (x, seen) = world.data, likings(world)
    before, after = [], []
    for user in range(data.n_users):
        mine = data.histories(np.array([user], np.int32))
        mine = mine.where(mine["weight"] > 0)
        for cut in range(len(mine["item"])):
            s, t = np.zeros(data.n_items), np.zeros(data.n_items)
            for at in range(len(mine["item"])):
                gap = cut - 1 - at if at < cut else at - cut
                reach, fade = (12, 2) if at < cut else (6, 1)
                if gap < reach:
                    (s if at < cut else t)[mine["item"][at]] += mine["weight"][at] * 0.5 ** (gap / fade)
            old = (data.now - mine["time"][cut]) / DAY
            count = 0.5 ** (old / days) if days else 1.0
            before.append(s * count**0.5)
            after.append(t * count**0.5)
    s, t, x = np.array(before)[:, seen], np.array(after)[:, seen], x[:, seen]
    gram: Matrix = whole_share * x.T @ x + (1 - whole_share) * s.T @ s + 5 * np.eye(int(seen.sum()))
    inverse = np.linalg.inv(gram)
    free = inverse @ (whole_share * x.T @ x + (1 - whole_share) * s.T @ t)
    expected = free - inverse * (np.diag(free) / np.diag(inverse))
    np.testing.assert_allclose(whole(recipe.fit(data, seed=0)), spread_out(expected, seen), atol=1e-4)


@pytest.mark.parametrize(
    ("recipe", "where"),
    [
        (Edlae(drop=1.0), "models.edlae"),
        (Edlae(reg=float("nan")), "models.edlae"),
        (Dan(reg=0), "models.dan"),
        (Slim(l1=-1), "models.slim"),
        (Slim(sweeps=0), "models.slim"),
        (Rp3Beta(alpha=0), "models.rp3beta"),
        (TurboCf(order=4), "models.turbocf"),
        (GfCf(factors=0), "models.gfcf"),
        (Bspm(time=-1), "models.bspm"),
        (Slist(whole=2), "models.slist"),
        (Slist(past=0), "models.slist"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(world: World, recipe: Any, where: str) -> None:
    with pytest.raises(ConfigError, match="must be") as caught:
        recipe.fit(world.data, seed=0)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "recipe", [Edlae(), Dan(), Slim(), Rp3Beta(), TurboCf(), TurboCf(order=3), GfCf(), Bspm(), Slist()], ids=repr
)
def test_nothing_learned_is_nothing_said(world: World, recipe: Any) -> None:
    model = recipe.fit(world.data.before(0), seed=0)
    assert len(model.recall(world.queries(), 5)) == 0


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Callable[[Path], Split]:
    kept: dict[Path, Split] = {}

    def split(folder: Path) -> Split:
        if folder not in kept:
            kept[folder] = leave_last(to_dataset(movielens.movielens_100k(folder))[0])
        return kept[folder]

    return split


@pytest.mark.parametrize(
    ("recipe", "least"),
    [
        (Edlae(half_life=4), 0.10),
        (Dan(reg=10, user_power=0.2, half_life=4), 0.10),
        (Slim(half_life=4), 0.11),
        (Rp3Beta(half_life=4), 0.09),
        (TurboCf(half_life=4), 0.085),
        (GfCf(factors=64, half_life=4), 0.09),
        (Bspm(factors=64, strength=0.2, rolloff=0.3, item_power=0.1, half_life=4), 0.11),
        (Slist(), 0.09),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float) else "",
)
def test_on_movielens_it_is_well_above_popularity(
    movielens_100k: Path, real: Callable[[Path], Split], recipe: Any, least: float
) -> None:
    split = real(movielens_100k)

    def figure(system: Any) -> float:
        shown = offline.ask(system, split.valid, 10)
        return float(offline.measure(shown, split.valid, (10,))[0]["ndcg@10"].mean())

    assert figure(recipe.fit(split.train, seed=0).recall) > least > 1.5 * figure(baselines.popular(split.train))
