"""item2vec keeps the contracts of recipes, sources, scorers and explainers."""

from typing import Any

import numpy as np

from shortlist.models.item2vec import Item2Vec
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class TestItem2Vec(RecipeContract):
    def make(self, world: World) -> Item2Vec:
        return Item2Vec(factors=20, epochs=2)


class TestItem2VecModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Item2Vec(factors=20, epochs=2, half_life=5).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.events.item[world.data.weight > 0])


class TestItem2VecOnLists(RecipeContract):
    def make(self, world: World) -> Item2Vec:
        return Item2Vec(learn="lists", factors=20, sample=0.001)
