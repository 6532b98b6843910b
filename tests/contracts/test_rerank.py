"""Rerankers keep the contracts."""

import numpy as np

from shortlist import ops
from shortlist.rerank.caps import Caps
from shortlist.rerank.chain import Chain
from shortlist.rerank.explore import ExploreSlots
from shortlist.rerank.mmr import Mmr, MmrModel
from shortlist.rerank.topn import TopN
from shortlist.testing.checks import candidates
from shortlist.testing.contracts import RecipeContract, RerankerContract
from shortlist.testing.reason_contract import AccountableContract
from shortlist.testing.world import World
from shortlist.types import Candidates, Queries


def explored(world: World, queries: Queries) -> Candidates:
    """Candidates of which about a third were proposed by the exploring source alone."""
    found = candidates(world, queries)
    draw = ops.chance(queries.seed[found.query] + np.uint64(5), found.item)
    alone = np.where(draw < 0.3, np.float32(np.nan), found.columns["first"])
    return found.with_columns(
        {
            "explore": np.where(draw < 0.5, draw, np.nan).astype(np.float32),
            "first": alone,
            "second": np.where(draw < 0.3, np.float32(np.nan), found.columns["second"]),
        }
    )


class TestTopN(RerankerContract):
    def make(self, world: World) -> TopN:
        return TopN()


class TestMmr(RecipeContract):
    def make(self, world: World) -> Mmr:
        return Mmr(trade=0.4, pool=12, column="genres")


class TestMmrModel(RerankerContract, AccountableContract):
    def make(self, world: World) -> MmrModel:
        return Mmr(trade=0.4, pool=12, column="genres").fit(world.data, seed=0)


class TestCaps(RerankerContract, AccountableContract):
    def make(self, world: World) -> Caps:
        return Caps(self.stores(world)["catalog"], "genres", cap=1)


class TestExploreSlots(RerankerContract, AccountableContract):
    def make(self, world: World) -> ExploreSlots:
        return ExploreSlots(slots=3)

    def found(self, world: World, queries: Queries) -> Candidates:
        return explored(world, queries)


class TestChain(RerankerContract):
    def make(self, world: World) -> Chain:
        mmr = Mmr(trade=0.4, pool=12, column="genres").fit(world.data, seed=0)
        return Chain((mmr, ExploreSlots(slots=2), Caps(self.stores(world)["catalog"], "genres", cap=2)))

    def found(self, world: World, queries: Queries) -> Candidates:
        return explored(world, queries)
