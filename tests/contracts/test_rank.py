"""Rankers and fusions keep the contracts."""

from typing import Any

import numpy as np

from shortlist.rank.fuse import ReciprocalRank
from shortlist.rank.logistic import Logistic, LogisticModel
from shortlist.rank.weighted import ZBlend, ZBlendModel
from shortlist.testing.contracts import RankerContract, ScorerContract, candidates
from shortlist.testing.reason_contract import AdditiveContract
from shortlist.testing.world import World


class TestReciprocalRank(ScorerContract, AdditiveContract):
    def make(self, world: World) -> ReciprocalRank:
        return ReciprocalRank({"second": 0.5}, constant=20)


class TestZBlend(RankerContract):
    def make(self, world: World) -> ZBlend:
        return ZBlend()


class TestZBlendModel(ScorerContract, AdditiveContract):
    def make(self, world: World) -> ZBlendModel:
        found = candidates(world, world.queries())
        return ZBlend().learn(found, (found.columns["second"] > 0.9).astype(np.float32), seed=0)


def learned(ranker: Any, world: World) -> Any:
    """What `ranker` learns from the candidates of `world`."""
    found = candidates(world, world.queries())
    return ranker.learn(found, (found.columns["second"] > 0.7).astype(np.float32), seed=0)


class TestLogistic(RankerContract):
    def make(self, world: World) -> Logistic:
        return Logistic()


class TestLogisticModel(ScorerContract, AdditiveContract):
    def make(self, world: World) -> LogisticModel:
        return learned(Logistic(), world)  # type: ignore[no-any-return]
