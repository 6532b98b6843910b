"""Features keep the contracts."""

from shortlist.features.item import ItemColumns
from shortlist.features.recency import Recency
from shortlist.features.scores import ModelScores
from shortlist.features.user import UserColumns
from shortlist.rank.fuse import ReciprocalRank
from shortlist.testing.contracts import FeatureContract
from shortlist.testing.world import World


class TestModelScores(FeatureContract):
    def make(self, world: World) -> ModelScores:
        return ModelScores({"fused": ReciprocalRank(), "other": ReciprocalRank({"first": 2.0})})


class TestItemColumns(FeatureContract):
    def make(self, world: World) -> ItemColumns:
        return ItemColumns(self.stores(world)["catalog"], ("year",))


class TestUserColumns(FeatureContract):
    def make(self, world: World) -> UserColumns:
        return UserColumns(self.stores(world)["catalog"], ("age",))


class TestRecency(FeatureContract):
    def make(self, world: World) -> Recency:
        return Recency(self.stores(world)["catalog"])
