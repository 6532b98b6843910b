"""Implicit ALS against its objective written out, and what a fold-in must be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import ops
from shortlist.data.frames import to_dataset
from shortlist.data.movielens import movielens_100k as read
from shortlist.eval import metrics, offline, protocol
from shortlist.models.als import Als, AlsModel
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Queries

RECIPE = Als(factors=8, iterations=30, steps=8, reg=0.02, unobserved=4, exponent=0.7)


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic()


@pytest.fixture(scope="module")
def model(world: World) -> AlsModel:
    return RECIPE.fit(world.data, seed=0)


def everybody(world: World) -> Queries:
    users = np.arange(world.data.n_users, dtype=np.int32)
    return Queries.of(users, history=world.data.histories(users))


def loss(world: World, recipe: Als, user: np.ndarray, item: np.ndarray) -> float:
    """The sum in the docstring of models.als, term by term."""
    likings = world.data.matrix.toarray().astype(np.float64)
    product = user.astype(np.float64) @ item.T.astype(np.float64)
    active = np.count_nonzero(likings.sum(axis=1)), np.count_nonzero(likings.sum(axis=0))
    pair = recipe.unobserved * likings.sum() / (active[0] * active[1])
    frequency = likings.sum(axis=1) + pair * active[1], likings.sum(axis=0) + pair * active[0]
    powered = [each**recipe.exponent for each in frequency]
    reg = recipe.reg * sum(each.sum() for each in frequency) / sum(each.sum() for each in powered)
    size = sum((p * (x.astype(np.float64) ** 2).sum(axis=1)).sum() for p, x in zip(powered, (user, item), strict=True))
    return float((likings * (product - 1) ** 2).sum() + pair * (product**2).sum() + reg * size)


def test_fold_in_is_the_minimum_of_the_objective(world: World, model: AlsModel) -> None:
    user = model.fold_in(everybody(world).history)
    least = loss(world, RECIPE, user, model.item)
    chance = np.random.default_rng(0)
    for scale in (1e-1, 1e-2, 1e-3):
        nudge = scale * chance.standard_normal(user.shape) * user.any(axis=1, keepdims=True)
        assert loss(world, RECIPE, user + nudge, model.item) > least


def test_more_iterations_lower_the_objective(world: World) -> None:
    found = []
    for iterations in (1, 2, 4, 16):
        model = replace(RECIPE, iterations=iterations).fit(world.data, seed=0)
        found.append(loss(world, RECIPE, model.fold_in(everybody(world).history), model.item))
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.95 * found[0]


def test_factors_need_not_fill_the_lanes(world: World, model: AlsModel) -> None:
    assert model.item.shape[1] == 16
    assert not model.item[:, 8:].any()
    assert model.item[:, :8].any()


def test_with_a_short_half_life_only_the_newest_liking_counts(world: World, model: AlsModel) -> None:
    history = everybody(world).history
    newest = history.where(history["weight"] > 0).last(1)
    vectors = replace(model, half_life=0.02).fold_in(history)
    np.testing.assert_allclose(vectors, model.fold_in(newest), rtol=1e-4, atol=1e-6)
    assert not np.allclose(vectors, model.fold_in(history), atol=1e-2)


def test_the_parts_of_a_score_add_up(world: World, model: AlsModel) -> None:
    """A history of one liking must be blamed for everything, and the reason must be the largest part otherwise."""
    queries = everybody(world).take(np.arange(5))
    found = model.recall(queries, 6)
    why = model.because(queries, found)
    for row in range(len(found)):
        b, item = int(found.query[row]), found.item[row]
        liked = ops.liked(queries.history, 0, len(model.item)).take(np.array([b]))
        y, weight = model.item[liked["item"]].astype(np.float64), liked["weight"].astype(np.float64)
        reg = model.reg * (weight.sum() + model.pairs) ** model.exponent
        system = model.gram + (y * weight[:, None]).T @ y + reg * np.eye(y.shape[1])
        part = weight * (y @ np.linalg.solve(system, model.item[item]))
        assert found.columns["score"][row] == pytest.approx(part.sum(), rel=1e-3, abs=1e-4)
        assert part[liked["item"] == why[row]].max() == pytest.approx(part.max(), rel=1e-3)


def test_strangers_get_no_opinion(world: World, model: AlsModel) -> None:
    nobody = Queries.of([-1, 999_999])
    assert not len(model.recall(nobody, 5))
    assert np.isnan(model.score(nobody, Candidates(np.int32([0, 1]), np.int32([0, 1])))).all()


def test_films_people_took_next_are_ranked_far_above_popularity(movielens_100k: Path) -> None:
    split = protocol.leave_last(to_dataset(read(movielens_100k))[0])
    part = split.test
    shown = offline.ask(Als().fit(split.final, seed=0).recall, part, 10)
    ndcg = metrics.ranking(metrics.hits(shown, part.relevant), part.relevant.length, 10)["ndcg"].mean()
    assert ndcg > 0.065  # popularity reaches 0.045


def test_items_that_nobody_liked_are_not_proposed_however_many_are_asked_for(world: World, model: AlsModel) -> None:
    unliked = np.flatnonzero(world.data.matrix.sum(axis=0) == 0)
    data = replace(world.data, n_items=world.data.n_items + 3)
    wider = RECIPE.fit(data, seed=0)
    found = wider.recall(everybody(world), 10_000)
    assert not np.isin(found.item, [*unliked, *range(world.data.n_items, data.n_items)]).any()
    assert len(model.recall(everybody(world), 10_000)) == len(found)
