"""EASE and item transitions keep the contracts of recipes, sources, scorers and explainers."""

from typing import Any

import numpy as np

from shortlist.models.ease import Ease
from shortlist.models.transitions import Transitions
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class TestEase(RecipeContract):
    def make(self, world: World) -> Ease:
        return Ease(reg=10)


class TestEaseModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Ease(reg=10, half_life=3).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.events.item[world.data.weight > 0])


class TestEaseModelWithoutDecay(TestEaseModel):
    def make(self, world: World) -> Any:
        return Ease(reg=10).fit(world.data, seed=0)


class TestTransitions(RecipeContract):
    def make(self, world: World) -> Transitions:
        return Transitions(neighbours=7)


class TestTransitionsModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Transitions().fit(world.data, seed=0)
