"""Linear and graph models of closed form keep the contracts of recipes, sources, scorers and explainers."""

from abc import abstractmethod
from typing import Any

import numpy as np

from shortlist.models.bspm import Bspm
from shortlist.models.dan import Dan
from shortlist.models.edlae import Edlae
from shortlist.models.gfcf import GfCf
from shortlist.models.rp3beta import Rp3Beta
from shortlist.models.slim import Slim
from shortlist.models.slist import Slist
from shortlist.models.turbocf import TurboCf
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class Everything(SourceContract, ScorerContract, ExplainerContract):
    """Of models that propose every item that somebody liked."""

    @abstractmethod
    def make(self, world: World) -> Any: ...

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.matrix.indices).astype(np.int32)


class TestEdlae(RecipeContract):
    def make(self, world: World) -> Edlae:
        return Edlae(reg=10)


class TestEdlaeModel(Everything):
    def make(self, world: World) -> Any:
        return Edlae(reg=10, half_life=3).fit(world.data, seed=0)


class TestDan(RecipeContract):
    def make(self, world: World) -> Dan:
        return Dan()


class TestDanModel(Everything):
    def make(self, world: World) -> Any:
        return Dan().fit(world.data, seed=0)


class TestSlim(RecipeContract):
    def make(self, world: World) -> Slim:
        return Slim(l1=1, l2=10)


class TestSlimModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Slim(l1=1, l2=10).fit(world.data, seed=0)


class TestRp3Beta(RecipeContract):
    def make(self, world: World) -> Rp3Beta:
        return Rp3Beta(neighbours=7)


class TestRp3BetaModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return Rp3Beta().fit(world.data, seed=0)


class TestTurboCf(RecipeContract):
    def make(self, world: World) -> TurboCf:
        return TurboCf(neighbours=7)


class TestTurboCfModel(SourceContract, ScorerContract, ExplainerContract):
    def make(self, world: World) -> Any:
        return TurboCf().fit(world.data, seed=0)


class TestTurboCfPolynomial(RecipeContract):
    def make(self, world: World) -> TurboCf:
        return TurboCf(order=3)


class TestTurboCfPolynomialModel(Everything):
    def make(self, world: World) -> Any:
        return TurboCf(order=2).fit(world.data, seed=0)


class TestGfCf(RecipeContract):
    def make(self, world: World) -> GfCf:
        return GfCf(factors=8)


class TestGfCfModel(Everything):
    def make(self, world: World) -> Any:
        return GfCf(factors=8, half_life=3).fit(world.data, seed=0)


class TestBspm(RecipeContract):
    def make(self, world: World) -> Bspm:
        return Bspm(factors=8)


class TestBspmModel(Everything):
    def make(self, world: World) -> Any:
        return Bspm(factors=8, steps=2).fit(world.data, seed=0)


class TestSlist(RecipeContract):
    def make(self, world: World) -> Slist:
        return Slist()


class TestSlistModel(Everything):
    def make(self, world: World) -> Any:
        return Slist(whole=0.3, days=20).fit(world.data, seed=0)
