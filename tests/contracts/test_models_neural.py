"""Neural models keep the contracts of recipes, sources, scorers and explainers; without PyTorch, before learning."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from shortlist.descent import Descent
from shortlist.models.sasrec import Sasrec
from shortlist.models.twotower import TwoTower
from shortlist.testing.contracts import (
    EncoderContract,
    ExplainerContract,
    RecipeContract,
    ScorerContract,
    SourceContract,
)
from shortlist.testing.world import World, stores
from shortlist.types import Rows

pytestmark = pytest.mark.torch
LEARNS = find_spec("torch") is not None
learning = pytest.mark.skipif(not LEARNS, reason="PyTorch is not installed: pip install 'shortlist[torch]'")
DESCENT = Descent(epochs=2 if LEARNS else 0, batch=32, threads=1)


@learning
class TestSasrec(RecipeContract):
    def make(self, world: World) -> Sasrec:
        return Sasrec(width=8, length=10, gaps=8, descent=DESCENT)


class TestSasrecModel(SourceContract, ScorerContract, ExplainerContract, EncoderContract):
    def make(self, world: World) -> Any:
        return Sasrec(width=8, length=10, gaps=8, descent=DESCENT).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.flatnonzero(self.make(world).known).astype(np.int32)


def towers(world: World) -> TwoTower:
    return TwoTower(stores(world)["catalog"], width=8, inner=8, length=10, negatives=16, descent=DESCENT)


@learning
class TestTwoTower(RecipeContract):
    def make(self, world: World) -> TwoTower:
        return towers(world)


class TestTwoTowerModel(SourceContract, ScorerContract, ExplainerContract, EncoderContract):
    def make(self, world: World) -> Any:
        return towers(world).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.arange(world.data.n_items, dtype=np.int32)
