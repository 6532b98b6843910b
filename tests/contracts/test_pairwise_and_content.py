"""BPR, WARP and content keep the contracts of recipes, sources, scorers and explainers."""

from typing import Any

import numpy as np

from shortlist.models.bpr import Bpr
from shortlist.models.content import Content
from shortlist.models.warp import Warp
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class TestBpr(RecipeContract):
    def make(self, world: World) -> Bpr:
        return Bpr(factors=10, epochs=10, popularity=0.5)


class TestBprModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Bpr(factors=10, epochs=10, steps=100).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.matrix.indices).astype(np.int32)


class TestWarp(RecipeContract):
    def make(self, world: World) -> Warp:
        return Warp(factors=10, epochs=5)


class TestWarpModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Warp(factors=10, epochs=5, steps=100, half_life=5).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.matrix.indices).astype(np.int32)


class TestContent(RecipeContract):
    def make(self, world: World) -> Content:
        return Content(self.stores(world)["catalog"], factors=5)


class TestContentModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Content(self.stores(world)["catalog"], {"genres": 2.0, "title": 1.0}).fit(world.data, seed=0)


class TestContentModelOfNewItems(SourceContract):
    def make(self, world: World) -> Any:
        return Content(self.stores(world)["catalog"], factors=5, new_only=True).fit(world.data, seed=0)
