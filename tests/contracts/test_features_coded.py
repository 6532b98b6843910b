"""Features that give codes, or compare attributes, keep the contracts."""

from dataclasses import replace

import numpy as np
import pytest

from shortlist.data.events import context_number
from shortlist.errors import ConfigError
from shortlist.features.affinity import Affinity
from shortlist.features.codes import ItemCodes, ItemCodesModel, UserCodes, UserCodesModel
from shortlist.features.ids import Ids
from shortlist.features.moment import Moment
from shortlist.features.request import RequestCodes
from shortlist.features.text import TextVectors, TextVectorsModel
from shortlist.stores.arrays import objects
from shortlist.testing.contracts import FeatureContract, RecipeContract
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Queries


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


class TestRequestCodes(FeatureContract):
    def make(self, world: World) -> RequestCodes:
        return RequestCodes(("place",))


def test_a_fact_of_the_moment_has_the_code_of_its_text() -> None:
    queries = Queries.of([-1, -1, -1], columns={"fact.place": np.array([context_number("top"), 0, -1])})
    found = Candidates(np.array([0, 0, 1, 2], np.int32), np.arange(4, dtype=np.int32))
    code = RequestCodes(("place", "device")).columns(queries, found)
    assert code["request.place"].tolist()[1:] == [code["request.place"][0], 0, 0]
    assert 2 <= code["request.place"][0] < 2 + 1024
    assert not code["request.device"].any()
    with pytest.raises(ConfigError, match="buckets 0"):
        RequestCodes(("place",), buckets=0)


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
