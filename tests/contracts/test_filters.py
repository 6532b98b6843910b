"""Filters keep the contracts."""

from shortlist.filters.attribute import Attribute
from shortlist.filters.available import Available
from shortlist.filters.blocked import Blocked
from shortlist.filters.seen import Seen, SeenKinds
from shortlist.testing.contracts import FilterContract, RecipeContract
from shortlist.testing.reason_contract import ReasonedContract
from shortlist.testing.world import World


class TestSeen(FilterContract, RecipeContract, ReasonedContract):
    def make(self, world: World) -> Seen:
        return Seen(window="30d")


class TestSeenEver(FilterContract):
    def make(self, world: World) -> Seen:
        return Seen()


class TestSeenKinds(FilterContract, ReasonedContract):
    def make(self, world: World) -> SeenKinds:
        return Seen(kinds=("rate",)).fit(world.data, seed=0)


class TestAvailable(FilterContract):
    def make(self, world: World) -> Available:
        return Available(self.stores(world)["catalog"], column="year", start="time")


class TestUnavailable(ReasonedContract):
    def make(self, world: World) -> Available:
        return Available(self.stores(world)["catalog"], end="time")


class TestBlocked(FilterContract, ReasonedContract):
    def make(self, world: World) -> Blocked:
        return Blocked(self.stores(world)["catalog"], items=("i4", "nobody", "i60"), column="blocked")


class TestAttribute(FilterContract, ReasonedContract):
    def make(self, world: World) -> Attribute:
        return Attribute(self.stores(world)["catalog"], "year >= 1990 and 'Drama' in genres or year < 1985")
