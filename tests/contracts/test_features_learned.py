"""Features that ask models, or count what happened, keep the contracts."""

from shortlist.descent import Descent
from shortlist.features.counts import Counts, ItemCounts
from shortlist.features.near import Near
from shortlist.features.pace import Pace
from shortlist.features.sequence import Summary
from shortlist.features.standing import Standing
from shortlist.features.tallies import Tallies, TalliesModel
from shortlist.models.itemknn import ItemKnn
from shortlist.models.sasrec import Sasrec
from shortlist.models.transitions import Transitions
from shortlist.testing.contracts import FeatureContract, RecipeContract
from shortlist.testing.world import World


class TestStanding(FeatureContract):
    def make(self, world: World) -> Standing:
        return Standing({"knn": ItemKnn().fit(world.past, seed=0), "next": Transitions().fit(world.past, seed=0)})


class TestNear(FeatureContract):
    def make(self, world: World) -> Near:
        return Near({"knn": ItemKnn().fit(world.past, seed=0)}, (1, 3))


class TestSummary(FeatureContract):
    def make(self, world: World) -> Summary:
        return Summary(
            {"sasrec": Sasrec(width=8, length=10, gaps=4, descent=Descent(epochs=0)).fit(world.past, seed=0)}, True
        )


class TestPace(FeatureContract):
    def make(self, world: World) -> Pace:
        return Pace()


class TestCounts(RecipeContract):
    def make(self, world: World) -> Counts:
        return Counts()


class TestItemCounts(FeatureContract):
    def make(self, world: World) -> ItemCounts:
        return Counts(("1d", "7d")).fit(world.data, seed=0)


class TestTallies(RecipeContract):
    def make(self, world: World) -> Tallies:
        return Tallies(self.stores(world)["catalog"], ("item", "user * item.genres"), of=("view",))


class TestTalliesModel(FeatureContract):
    def make(self, world: World) -> TalliesModel:
        by = ("item", "user", "user * item", "item.genres", "user * item.genres", "item.genres * hour", "user.age")
        catalog = self.stores(world)["catalog"]
        return Tallies(catalog, by, kinds=("rate",), of=("rate", "view")).fit(world.data, seed=0)
