"""Features that give codes, or compare attributes, keep the contracts."""

from dataclasses import replace

import pytest

from shortlist.errors import ConfigError
from shortlist.features.affinity import Affinity
from shortlist.features.codes import ItemCodes, ItemCodesModel, UserCodes, UserCodesModel
from shortlist.features.ids import Ids
from shortlist.features.moment import Moment
from shortlist.features.text import TextVectors, TextVectorsModel
from shortlist.stores.arrays import objects
from shortlist.testing.contracts import FeatureContract, RecipeContract
from shortlist.testing.world import World, synthetic


class TestIds(FeatureContract):
    def make(self, world: World) -> Ids:
        return Ids(recent=5)


class TestMoment(FeatureContract):
    def make(self, world: World) -> Moment:
        return Moment("Europe/Vienna")


class TestTextVectors(RecipeContract):
    def make(self, world: World) -> TextVectors:
        return TextVectors(self.stores(world)["catalog"], ("title", "genres"), factors=4)


class TestTextVectorsModel(FeatureContract):
    def make(self, world: World) -> TextVectorsModel:
        return TextVectors(self.stores(world)["catalog"], ("title", "genres"), factors=4).fit(world.data, seed=0)


class TestAffinity(FeatureContract):
    def make(self, world: World) -> Affinity:
        return Affinity(self.stores(world)["catalog"], ("genres",))


class TestItemCodes(RecipeContract):
    def make(self, world: World) -> ItemCodes:
        return ItemCodes(self.stores(world)["catalog"], ("genres",))


class TestItemCodesModel(FeatureContract):
    def make(self, world: World) -> ItemCodesModel:
        return ItemCodes(self.stores(world)["catalog"], ("genres",)).fit(world.data, seed=0)


class WithJobs:
    """The people of the world have a job, some of them."""

    def world(self) -> World:
        world = synthetic()
        jobs = objects([("", "cook", "miner")[row % 3] for row in range(world.data.n_users)])
        return replace(world, data=replace(world.data, users={**world.data.users, "job": jobs}))


class TestUserCodes(WithJobs, RecipeContract):
    def make(self, world: World) -> UserCodes:
        return UserCodes(self.stores(world)["catalog"], ("job",))

    def test_fit_learns_from_nothing_and_from_almost_nothing(self) -> None:
        with pytest.raises(ConfigError, match="no column 'job'"):
            self.make(self.world()).fit(synthetic().data, seed=0)


class TestUserCodesModel(WithJobs, FeatureContract):
    def make(self, world: World) -> UserCodesModel:
        return UserCodes(self.stores(world)["catalog"], ("job",), buckets=100).fit(world.data, seed=0)
