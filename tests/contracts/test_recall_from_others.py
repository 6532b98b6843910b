"""Sources that ask another source, a category or a batch run keep the contracts."""

from time import time_ns
from typing import Any

import numpy as np

from shortlist.models.itemknn import ItemKnn
from shortlist.models.transitions import Transitions
from shortlist.recall.expansion import Expansion, ExpansionModel
from shortlist.recall.precomputed import Precomputed, write
from shortlist.recall.recent import Recent
from shortlist.testing.contracts import ExplainerContract, RecipeContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Ragged


class TestRecent(SourceContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Recent(Transitions().fit(world.data, seed=0), 4)

    def test_a_narrow_filter_acts_inside_retrieval(self) -> None:
        """Every recent item has its share of what is allowed, so the mask decides whose turn it is, not only who is
        left out: the order of the whole list says nothing. Compared with a naive twin in tests/unit/recall."""
        world = self.world()
        source, queries = self.make(world), world.queries()
        for allowed in (np.arange(world.data.n_items) < 3, np.arange(world.data.n_items) % 2 == 0):
            whole = source.recall(queries, 10_000)
            inside = np.bincount(whole.query[allowed[whole.item]], minlength=len(queries))
            for k in (2, 20):
                found = source.recall(queries.with_allowed(allowed), k)
                assert np.array_equal(np.bincount(found.query, minlength=len(queries)), np.minimum(inside, k))


class TestRecentOfOne(SourceContract):
    """Of one item there are no turns: the contract as it stands."""

    def make(self, world: World) -> Recent:
        return Recent(ItemKnn().fit(world.data, seed=0), 1)


class TestExpansion(RecipeContract):
    def make(self, world: World) -> Expansion:
        return Expansion(self.stores(world)["catalog"], "genres")


class TestExpansionModel(SourceContract):
    policy = "rate"

    def make(self, world: World) -> ExpansionModel:
        return Expansion(self.stores(world)["catalog"], "genres", self.policy, half_life=5).fit(world.data, seed=0)


class TestExpansionOfTheNewest(TestExpansionModel):
    policy = "fresh"


class TestExpansionByLot(TestExpansionModel):
    policy = "random"


class TestExpansionOfASource(SourceContract):
    def make(self, world: World) -> ExpansionModel:
        source = ItemKnn().fit(world.data, seed=0)
        return Expansion(self.stores(world)["catalog"], "genres", source=source).fit(world.data, seed=0)


class TestPrecomputed(SourceContract):
    def make(self, world: World) -> Precomputed:
        state, size = self.stores(world)["state"], world.data.n_users
        chance = np.random.default_rng(0)
        item = np.concatenate([chance.permutation(world.data.n_items)[:40] for _ in range(size)]).astype(np.int32)
        score = chance.random(40 * size).astype(np.float32)
        write(
            state, "contract", Ragged(np.arange(size + 1) * 40, {"item": item, "score": score}), run=time_ns() // 1000
        )
        return Precomputed(state, "contract")
