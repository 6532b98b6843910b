"""Models that predict ratings keep the contracts of sources, scorers, explainers and recipes."""

from typing import Any

import numpy as np

from shortlist.models.bayesian_fm import BayesianFm
from shortlist.models.biased_mf import BiasedMf
from shortlist.models.svdpp import SvdPp
from shortlist.models.timesvd import TimeSvd
from shortlist.protocols import Recipe
from shortlist.testing.contracts import ExplainerContract, RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World
from shortlist.types import Rows


class Rates(SourceContract, ScorerContract, ExplainerContract):
    def knows(self, world: World) -> Rows:
        return np.arange(world.data.n_items, dtype=np.int32)


class TestBiasedMf(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return BiasedMf(factors=6, epochs=3)


class TestBiasedMfModel(Rates):
    def make(self, world: World) -> Any:
        return BiasedMf(factors=6, epochs=3).fit(world.data, seed=0)


class TestSvdPp(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return SvdPp(factors=6, epochs=3)


class TestSvdPpModel(Rates):
    def make(self, world: World) -> Any:
        return SvdPp(factors=6, epochs=3).fit(world.data, seed=0)


class TestTimeSvd(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return TimeSvd(factors=6, epochs=3)


class TestTimeSvdModel(Rates):
    def make(self, world: World) -> Any:
        return TimeSvd(factors=6, epochs=3).fit(world.data, seed=0)


class TestBayesianFm(RecipeContract):
    def make(self, world: World) -> Recipe[Any]:
        return BayesianFm(factors=6, sweeps=6, warmup=2, samples=3)


class TestBayesianFmModel(Rates):
    def make(self, world: World) -> Any:
        return BayesianFm(factors=6, sweeps=6, warmup=2, samples=3).fit(world.data, seed=0)
