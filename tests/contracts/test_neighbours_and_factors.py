"""Neighbour and factor models keep the contracts of sources, scorers, explainers and recipes."""

from typing import Any

import numpy as np

from shortlist.models.als import Als
from shortlist.models.als_explicit import ExplicitAls
from shortlist.models.itemknn import ItemKnn
from shortlist.models.userknn import UserKnn
from shortlist.protocols import Recipe
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class TestAls(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return Als(factors=20, iterations=4)


class TestAlsModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Als(factors=20, iterations=4).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.matrix.indices).astype(np.int32)  # what somebody liked


class TestExplicitAls(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return ExplicitAls(factors=6, iterations=3)


class TestExplicitAlsModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return ExplicitAls(factors=6, iterations=3).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.arange(world.data.n_items, dtype=np.int32)


class TestItemKnn(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return ItemKnn(neighbours=10, weighting="tfidf", half_life=5)


class TestItemKnnModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return ItemKnn(neighbours=10, half_life=5).fit(world.data, seed=0)


class TestUserKnn(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return UserKnn(neighbours=10, weighting="bm25")


class TestUserKnnModel(SourceContract, ScorerContract):
    def make(self, world: World) -> Any:
        return UserKnn(neighbours=10, half_life=5).fit(world.data, seed=0)
