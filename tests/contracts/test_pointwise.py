"""Rankers of ratings keep the contracts of recipes, sources and scorers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.descent import Descent
from shortlist.errors import ConfigError
from shortlist.models.pointwise import Pointwise
from shortlist.rank.learning import Learning
from shortlist.rank.mlp import Mlp
from shortlist.rank.mmoe import Mmoe
from shortlist.testing.contracts import RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World, stores, synthetic
from shortlist.types import Candidates, Queries, Rows

UNLEARNED = Learning(held=0.0, descent=Descent(epochs=0))  # contracts hold without PyTorch
LEARNING = Learning(held=0.0, descent=Descent(epochs=6, batch=256, rate=0.01, threads=1))


def multitask(world: World, learning: Learning = UNLEARNED) -> Pointwise:
    tasks, weights = ("rating", "click"), {"rating": 1.0, "click": 0.0}
    both = Mmoe(tasks, weights, experts=2, expert=8, tower=4, width=8, learning=learning)
    by_click = replace(both, weights={"rating": 0.0, "click": 1.0})
    return Pointwise(stores(world)["catalog"], both, by_click, negatives=2)


class TestPointwise(RecipeContract):
    def make(self, world: World) -> Pointwise:
        return multitask(world)


class TestPointwiseModel(SourceContract, ScorerContract):
    def make(self, world: World) -> Any:
        return multitask(world).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.arange(world.data.n_items)


@pytest.mark.torch
def test_it_predicts_ratings_better_than_their_mean_and_proposes_by_the_other_goal() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")
    world = synthetic()
    rated = world.data.ratings.tocoo()
    queries = Queries.of(rated.row.astype(np.int32))
    found = Candidates(np.arange(len(rated.row), dtype=np.int32), rated.col.astype(np.int32))
    for recipe in (
        multitask(world, LEARNING),
        Pointwise(stores(world)["catalog"], Mlp(layers=(16,), learning=LEARNING)),
    ):
        model = recipe.fit(world.data, seed=0)
        said = model.score(queries, found)
        assert ((said >= rated.data.min()) & (said <= rated.data.max())).all()
        assert np.mean((said - rated.data) ** 2) < 0.95 * rated.data.var()
        alone = model.score(queries.take(np.array([5])), Candidates(np.zeros(1, np.int32), found.item[5:6]))
        assert alone[0] == said[5]
    people = Queries.of(np.arange(world.data.n_users))
    both = multitask(world, LEARNING).fit(world.data, seed=0)
    by_stars, by_click = (replace(both, proposer=each).recall(people, 10) for each in (both.scorer, both.proposer))
    met = set(zip(rated.row.tolist(), rated.col.tolist(), strict=True))
    hits = [
        sum((user, item) in met for user, item in zip(each.query.tolist(), each.item.tolist(), strict=True))
        for each in (by_stars, by_click)
    ]
    assert hits[1] > hits[0]


def test_what_cannot_be_is_said() -> None:
    world = synthetic()
    with pytest.raises(ConfigError, match="negatives is -1"):
        replace(multitask(world), negatives=-1)
    with pytest.raises(ConfigError, match="other settings that need no learning"):
        replace(multitask(world), proposer=Mlp()).fit(world.data, seed=0)
