"""BPR and WARP: what they learn of worlds with one right answer, and what seeds and threads may change."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import _kernels
from shortlist.data.frames import to_dataset
from shortlist.data.movielens import movielens_100k as read
from shortlist.dataset import rows_of
from shortlist.errors import ConfigError
from shortlist.eval import metrics, offline, protocol
from shortlist.models.bpr import Bpr
from shortlist.models.pairwise import PairwiseModel
from shortlist.models.warp import Warp
from shortlist.testing.world import checkerboard, synthetic
from shortlist.types import Candidates, Queries

BPR = Bpr(factors=8, epochs=60, steps=400)
WARP = Warp(factors=8, epochs=30, steps=400, reg=0.1)


def unseen(history_of: Queries) -> Queries:
    """Each forbids what it has seen."""
    return history_of.with_exclude(history_of.history)


@pytest.mark.parametrize("recipe", [BPR, WARP], ids=["bpr", "warp"])
def test_the_one_withheld_item_of_ones_colour_comes_first(recipe: Bpr | Warp) -> None:
    world = checkerboard()
    found = recipe.fit(world.data, seed=1).recall(unseen(world.queries()), 1)
    np.testing.assert_array_equal(found.item, world.withheld)


@pytest.mark.parametrize("recipe", [BPR, WARP], ids=["bpr", "warp"])
def test_strangers_are_known_by_the_history_in_the_request(recipe: Bpr | Warp) -> None:
    world = checkerboard()
    model, known = recipe.fit(world.data, seed=1), world.queries()
    strangers = replace(known, user=np.full(len(known), -1, np.int32))
    np.testing.assert_array_equal(model.recall(known, 6).item, model.recall(strangers, 6).item)
    assert not len(model.recall(Queries.of([-1, 3]), 6))
    assert np.isnan(model.score(Queries.of([-1]), Candidates(np.int32([0]), np.int32([0])))).all()


@pytest.mark.parametrize("recipe", [BPR, WARP], ids=["bpr", "warp"])
def test_a_seed_repeats_with_one_thread_and_others_differ(recipe: Bpr | Warp) -> None:
    data = synthetic().data
    first, again, other = (recipe.fit(data, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.item, again.item)
    assert not np.allclose(first.item, other.item)


def test_an_epoch_moves_as_the_formula_says() -> None:
    """One person, one liking, one rival: a single step, written out."""
    chance = np.random.default_rng(0)
    user, item = (chance.standard_normal((size, 16)).astype(np.float32) for size in (1, 2))
    user[:, 15] = 1
    x, y, z = user[0].astype(np.float64), *item.astype(np.float64)
    rate, reg = 0.1, 0.02
    one = (np.int64([0, 1]), np.int32([0]), np.float32([2.5]), np.int32([1]))
    _kernels.pairwise_epoch(user, item, *one, bias=15, trials=0, rate=rate, reg=reg, seed=3, threads=1)
    push, keep = rate / (1 + np.exp(x @ y - x @ z)), 1 - rate * reg
    moved = keep * x + push * (y - z)
    moved[15] = 1
    np.testing.assert_allclose(user[0], moved, rtol=1e-5)
    np.testing.assert_allclose(item, [keep * y + push * x, keep * z - push * x], rtol=1e-5)


def test_warp_leaves_a_liking_that_is_a_margin_ahead() -> None:
    user, item = np.zeros((1, 16), np.float32), np.zeros((2, 16), np.float32)
    user[0, 0] = user[0, 1] = 1
    item[0, 0] = 1.5
    one = (np.int64([0, 1]), np.int32([0]), np.float32([1]), np.int32([1]))
    before = item.copy()
    _kernels.pairwise_epoch(user, item, *one, bias=1, trials=5, rate=0.1, reg=0.1, seed=3, threads=1)
    np.testing.assert_array_equal(item, before)
    item[0, 0] = 0.5
    _kernels.pairwise_epoch(user, item, *one, bias=1, trials=5, rate=0.1, reg=0.0, seed=3, threads=1)
    assert item[0, 0] == pytest.approx(0.6)  # the first draw violates: the whole step
    assert item[1, 0] == pytest.approx(-0.1)


def test_likings_are_drawn_by_their_weight() -> None:
    user, item = np.zeros((1, 16), np.float32), np.zeros((3, 16), np.float32)
    user[0, 15] = 1
    two = (np.int64([0, 2]), np.int32([0, 1]), np.float32([9, 1]), np.int32([2]))
    for seed in range(400):
        _kernels.pairwise_epoch(user, item, *two, bias=15, trials=0, rate=1e-4, reg=0.0, seed=seed, threads=1)
    assert item[0, 15] / item[1, 15] == pytest.approx(9, rel=0.35)


def test_every_instruction_set_learns_the_same() -> None:
    data = synthetic().data
    before, found = _kernels.variants()[-1], []
    for name in _kernels.variants():
        before = _kernels.use(name) if not found else before
        _kernels.use(name)
        found.append(Bpr(factors=8, epochs=2).fit(data, seed=1).item)
    _kernels.use(before)
    for each in found[1:]:
        np.testing.assert_allclose(each, found[0], rtol=1e-2, atol=1e-3)


def test_the_pool_follows_popularity_and_leaves_nothing_out() -> None:
    data = synthetic().data
    likes = np.bincount(rows_of(data.matrix)["item"], minlength=data.n_items)
    alike, popular = (Bpr(factors=8, epochs=1, popularity=each).fit(data, seed=0).pool for each in (0.0, 1.0))
    np.testing.assert_array_equal(alike, np.flatnonzero(likes))
    times = np.bincount(popular, minlength=data.n_items)
    assert (times[likes > 0] >= 1).all()
    assert not times[likes == 0].any()
    np.testing.assert_allclose(times / len(popular), likes / likes.sum(), atol=0.01)


def test_items_that_nobody_liked_are_never_proposed() -> None:
    world = synthetic()
    wider = replace(world.data, n_items=world.data.n_items + 3)
    model = BPR.fit(wider, seed=0)
    found = model.recall(world.queries(), 10_000)
    assert model.known[found.item].all()
    assert not model.known[-3:].any()
    assert np.isnan(model.score(world.queries(), Candidates(np.int32([0]), np.int32([world.data.n_items])))).all()


def test_wrong_arguments_are_refused_before_they_are_written_to() -> None:
    user, item = np.zeros((1, 16), np.float32), np.zeros((2, 16), np.float32)
    good = {"ptr": np.int64([0, 1]), "index": np.int32([0]), "weight": np.float32([1]), "pool": np.int32([1])}
    for wrong in (
        {"index": np.int32([2])},
        {"pool": np.int32([2])},
        {"pool": np.int32([])},
        {"weight": np.float32([0])},
        {"ptr": np.int64([0, 1, 1])},
    ):
        with pytest.raises(ValueError, match="must"):
            _kernels.pairwise_epoch(
                user, item, **{**good, **wrong}, bias=15, trials=0, rate=0.1, reg=0, seed=0, threads=1
            )
    with pytest.raises(ConfigError, match="trials"):
        Warp(trials=0).fit(synthetic().data, seed=0)


@pytest.mark.parametrize(
    ("recipe", "least"),
    [(Bpr(factors=32, epochs=40, rate=0.1, steps=300), 0.05), (Warp(factors=32, epochs=12, steps=300), 0.055)],
    ids=["bpr", "warp"],
)
def test_many_threads_are_far_above_popularity_on_films(movielens_100k: Path, recipe: Bpr | Warp, least: float) -> None:
    split = protocol.leave_last(to_dataset(read(movielens_100k))[0])
    model: PairwiseModel = replace(recipe, threads=2).fit(split.final, seed=0)
    shown = offline.ask(model.recall, split.test, 10)
    found = metrics.ranking(metrics.hits(shown, split.test.relevant), split.test.relevant.length, 10)
    assert found["ndcg"].mean() > least  # popularity reaches 0.045


def test_the_reason_is_the_nearest_liking_whatever_its_bias() -> None:
    world = synthetic()
    model = BPR.fit(world.data, seed=1)
    model.item[:, model.descent.bias] *= 1000
    queries = world.queries()
    found = model.recall(queries, 5)
    liked = queries.history.where(queries.history["weight"] > 0)
    factor = model.item[:, : model.descent.bias].astype(np.float64)
    factor /= np.maximum(np.linalg.norm(factor, axis=1, keepdims=True), 1e-12)
    told = 0
    for query, item, why in zip(found.query, found.item, model.because(queries, found), strict=True):
        cosine = factor[liked["item"][liked.ptr[query] : liked.ptr[query + 1]]] @ factor[item]
        assert (cosine.max() <= 1e-6) if why < 0 else (factor[why] @ factor[item] >= cosine.max() - 1e-5)
        told += why >= 0
    assert told > len(found) / 2
