"""Rankers and fusions keep the contracts."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from shortlist.descent import Descent
from shortlist.rank.calibrate import Calibrated, CalibratedModel
from shortlist.rank.combsum import CombSum, Ensemble, EnsembleModel
from shortlist.rank.dcn import Dcn, DcnModel
from shortlist.rank.deepfm import DeepFm, DeepFmModel
from shortlist.rank.din import Din, DinModel
from shortlist.rank.fm import Fm, FmModel
from shortlist.rank.fuse import ReciprocalRank
from shortlist.rank.gbdt import Gbdt, GbdtModel
from shortlist.rank.learning import Learning
from shortlist.rank.logistic import Logistic, LogisticModel
from shortlist.rank.mlp import Mlp, MlpModel
from shortlist.rank.mmoe import Mmoe, MmoeModel
from shortlist.rank.weighted import ZBlend, ZBlendModel
from shortlist.testing.checks import candidates
from shortlist.testing.contracts import RankerContract, ScorerContract
from shortlist.testing.reason_contract import AdditiveContract
from shortlist.testing.world import World
from shortlist.types import Candidates, Queries

LEARNS = find_spec("torch") is not None
learning = pytest.mark.skipif(not LEARNS, reason="PyTorch is not installed: pip install 'shortlist[torch]'")


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


class TestCombSum(ScorerContract, AdditiveContract):
    def make(self, world: World) -> CombSum:
        return CombSum({"second": 0.5})


class TestEnsemble(RankerContract):
    def make(self, world: World) -> Ensemble:
        return Ensemble((Gbdt(trees=10, rows_in_leaf=5, threads=1), Logistic(), CombSum()), weights=(1, 1, 0.5))


class TestEnsembleModel(ScorerContract, AdditiveContract):
    def make(self, world: World) -> EnsembleModel:
        members = (Gbdt(trees=5, rows_in_leaf=5, threads=1), Calibrated(Logistic()), ReciprocalRank(), CombSum())
        return learned(Ensemble(members), world)  # type: ignore[no-any-return]


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


class TestCalibrated(RankerContract):
    def make(self, world: World) -> Calibrated:
        return Calibrated(Logistic())


class TestCalibratedModel(ScorerContract):
    def make(self, world: World) -> CalibratedModel:
        return learned(Calibrated(Logistic(), how="platt"), world)  # type: ignore[no-any-return]


def networks(width: int = 4) -> Mapping[str, Any]:
    """Rankers that learn with PyTorch; without it, they are checked before learning."""
    lesson = Learning(
        held=0.2, descent=Descent(epochs=25 if LEARNS else 0, patience=25, batch=64, rate=0.01, threads=1)
    )
    return {
        "fm": Fm(width=width, learning=lesson),
        "mlp": Mlp(width=width, layers=(8, 8), learning=lesson),
        "deepfm": DeepFm(width=width, layers=(8, 8), learning=lesson),
        "dcn": Dcn(width=width, layers=(8, 8), learning=lesson),
        "din": Din({"past": "code"}, width=width, layers=(8,), learning=lesson),
        "mmoe": Mmoe(("taken",), width=width, expert=8, tower=8, learning=lesson),
    }


class OfNetworks:
    """Candidates with every kind of column that a network reads."""

    def found(self, world: World, queries: Queries) -> Candidates:
        found = candidates(world, queries)
        liked = np.full((len(queries), 3), -1, np.int32)
        for b in range(len(queries)):
            last = queries.history["item"][queries.history.ptr[b] : queries.history.ptr[b + 1]][-3:]
            liked[b, 3 - len(last) :] = last
        past = np.where(liked >= 0, liked % world.data.n_items + 2, 0).astype(np.int32)[found.query]
        return found.with_columns({"past": past, "code": (found.item % 90 + 2).astype(np.int32)})


def learned_network(name: str, world: World) -> Any:
    found = OfNetworks().found(world, world.queries())
    return networks()[name].learn(found, (found.columns["second"] > 0.7).astype(np.float32), seed=0)


@learning
class TestFm(OfNetworks, RankerContract):
    def make(self, world: World) -> Fm:
        return networks()["fm"]  # type: ignore[no-any-return]


class TestFmModel(OfNetworks, ScorerContract):
    def make(self, world: World) -> FmModel:
        return learned_network("fm", world)  # type: ignore[no-any-return]


@learning
class TestMlp(OfNetworks, RankerContract):
    def make(self, world: World) -> Mlp:
        return networks()["mlp"]  # type: ignore[no-any-return]


class TestMlpModel(OfNetworks, ScorerContract):
    def make(self, world: World) -> MlpModel:
        return learned_network("mlp", world)  # type: ignore[no-any-return]


@learning
class TestDeepFm(OfNetworks, RankerContract):
    def make(self, world: World) -> DeepFm:
        return networks()["deepfm"]  # type: ignore[no-any-return]


class TestDeepFmModel(OfNetworks, ScorerContract):
    def make(self, world: World) -> DeepFmModel:
        return learned_network("deepfm", world)  # type: ignore[no-any-return]


@learning
class TestDcn(OfNetworks, RankerContract):
    def make(self, world: World) -> Dcn:
        return networks()["dcn"]  # type: ignore[no-any-return]


class TestDcnModel(OfNetworks, ScorerContract):
    def make(self, world: World) -> DcnModel:
        return learned_network("dcn", world)  # type: ignore[no-any-return]


@learning
class TestDin(OfNetworks, RankerContract):
    def make(self, world: World) -> Din:
        return networks()["din"]  # type: ignore[no-any-return]


class TestDinModel(OfNetworks, ScorerContract):
    def make(self, world: World) -> DinModel:
        return learned_network("din", world)  # type: ignore[no-any-return]


@learning
class TestMmoe(OfNetworks, RankerContract):
    def make(self, world: World) -> Mmoe:
        return networks()["mmoe"]  # type: ignore[no-any-return]


class TestMmoeModel(OfNetworks, ScorerContract, AdditiveContract):
    def make(self, world: World) -> MmoeModel:
        return learned_network("mmoe", world)  # type: ignore[no-any-return]


class TestGbdt(RankerContract):
    def make(self, world: World) -> Gbdt:
        return Gbdt(trees=20, leaves=7, rows_in_leaf=5, threads=1)


class TestGbdtModel(ScorerContract, AdditiveContract):
    def make(self, world: World) -> GbdtModel:
        found = candidates(world, world.queries())
        label = (found.columns["second"] > 0.9).astype(np.float32)
        return Gbdt(objective="binary", trees=20, leaves=7, rows_in_leaf=5, threads=1).learn(found, label, seed=0)
