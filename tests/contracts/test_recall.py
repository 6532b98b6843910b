"""Looked-up sources keep the contracts."""

from typing import Any

import numpy as np

from shortlist.models.als import Als
from shortlist.models.transitions import Transitions
from shortlist.recall.arrivals import Arrivals, ArrivalsModel
from shortlist.recall.editorial import Editorial
from shortlist.recall.explore import Explore
from shortlist.recall.fresh import Fresh
from shortlist.recall.given import Given
from shortlist.recall.ladder import Ladder
from shortlist.recall.nearest import Nearest
from shortlist.recall.popular import Popular
from shortlist.recall.similar import Similar
from shortlist.recall.toprated import TopRated
from shortlist.testing.contracts import ExplainerContract, RecipeContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


def all_items(world: World) -> Rows:
    return np.arange(world.data.n_items, dtype=np.int32)


class TestPopular(RecipeContract):
    def make(self, world: World) -> Popular:
        return Popular(window="60d", half_life="7d")


class TestTopRated(RecipeContract):
    def make(self, world: World) -> TopRated:
        return TopRated(prior=5)


class TestPopularItems(SourceContract):
    def make(self, world: World) -> Given:
        return Popular().fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.events.item[world.data.weight > 0])


class TestGiven(SourceContract):
    def make(self, world: World) -> Given:
        return Given(np.array([5, 3, 80, 8, 0, 41], np.int32), np.array([6, 5, 4, 3, 2, 1], np.float32))

    def knows(self, world: World) -> Rows:
        return np.array([5, 3, 80, 8, 0, 41], np.int32)


class TestEditorial(SourceContract):
    def make(self, world: World) -> Editorial:
        return Editorial(self.stores(world)["catalog"], ("i9", "nobody", "i3", "i9", "i80"))

    def knows(self, world: World) -> Rows:
        return np.array([9, 3, 80], np.int32)


class TestFresh(SourceContract):
    def make(self, world: World) -> Fresh:
        return Fresh(self.stores(world)["catalog"])

    def knows(self, world: World) -> Rows:
        return all_items(world)


class TestFreshByArrival(TestFresh):
    def make(self, world: World) -> Fresh:
        return Fresh(self.stores(world)["catalog"], column="nothing")


class TestArrivals(SourceContract):
    def make(self, world: World) -> ArrivalsModel:
        return ArrivalsModel(self.stores(world)["catalog"], 70)

    def knows(self, world: World) -> Rows:
        return np.arange(70, world.data.n_items, dtype=np.int32)


class TestArrivalsRecipe(RecipeContract):
    def make(self, world: World) -> Arrivals:
        return Arrivals(self.stores(world)["catalog"])


class TestLadder(SourceContract):
    def make(self, world: World) -> Ladder:
        given = Given(np.array([5, 3, 80], np.int32), np.array([9, 8, 7], np.float32))
        return Ladder((given, Fresh(self.stores(world)["catalog"])))

    def knows(self, world: World) -> Rows:
        return all_items(world)


class TestExplore(SourceContract):
    def make(self, world: World) -> Explore:
        return Explore(self.stores(world)["catalog"])

    def knows(self, world: World) -> Rows:
        return all_items(world)


class TestSimilar(SourceContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Similar(Transitions().fit(world.data, seed=0))


class TestNearest(SourceContract, ExplainerContract):
    def make(self, world: World) -> Nearest:
        return Nearest(Als(factors=20, iterations=4).fit(world.data, seed=0), self.stores(world)["index"])

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.matrix.indices).astype(np.int32)  # what somebody liked


class TestNearestToWhatIsInView(SourceContract):
    def make(self, world: World) -> Nearest:
        model = Als(factors=20, iterations=4).fit(world.data, seed=0)
        return Nearest(model, self.stores(world)["index"], metric="cosine", about="context")
