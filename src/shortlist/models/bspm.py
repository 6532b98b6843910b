"""BSPM: blur a history on the graph of people and items, then sharpen it (Choi et al., SIGIR 2023).

Blurring is one step of the heat equation with a low-pass beside it, as in GF-CF; sharpening runs the equation
dx/dt = -x P backwards in time, solved by Runge and Kutta's method of order 4: a polynomial in P. ("BSPM-EM", early
merge; with `time` 0 it is GF-CF.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.graph_filter import GraphFilter, filter_of
from shortlist.types import Scores

ORDER = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24)  # of one step of the method: the series of the exponential


@dataclass(frozen=True, slots=True)
class Bspm:
    """Nothing is trained but some singular vectors; the defaults led on validation, Gowalla (time and a: the paper's).

    Memory and fit as GF-CF: 8 E + 8 D I bytes for E likings, I items and D vectors; a query costs 4 E operations for
    each of the 1 + 4 · steps powers, so catalogues of hundreds of thousands, but requests of some milliseconds for each
    million likings.
    """

    factors: int = 1024  # singular vectors of the low-pass
    strength: float = 0.4  # of the low-pass beside the heat equation; 0 leaves it out
    time: float = 2.5  # of sharpening; 0 = none
    steps: int = 1  # of the solver
    rolloff: float = 0.6  # b of the low-pass; 0 = the ideal one of the paper
    user_power: float = 0.5  # a, as in the paper; smaller: people of many likings say more
    item_power: float = 0.05  # c, 0 in the paper; larger: items of many likings come first
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> GraphFilter:
        if self.factors < 1 or self.steps < 1 or not min(self.strength, self.time, self.rolloff) >= 0:
            raise ConfigError(
                f"factors is {self.factors}, steps {self.steps}, strength {self.strength}, time {self.time}, rolloff"
                f" {self.rolloff}: factors and steps must be greater than 0, the others at least 0",
                where="models.bspm",
            )
        return filter_of(
            data.matrix,
            factors=self.factors,
            strength=self.strength,
            rolloff=self.rolloff,
            polynomial=sharpening(self.time, self.steps),
            user_power=self.user_power,
            item_power=self.item_power,
            half_life=self.half_life,
            seed=seed,
        )


def sharpening(time: float, steps: int) -> Scores:
    """(1 + 4 steps,) coefficients of the powers of P after `steps` equal steps through `time`; (1,) when time is 0."""
    step = np.polynomial.Polynomial([each * (-time / steps) ** power for power, each in enumerate(ORDER)])
    whole: Scores = (step**steps).trim().coef.astype(np.float32)
    return whole
