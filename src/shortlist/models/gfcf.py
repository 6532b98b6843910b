"""GF-CF: a linear and a low-pass filter on the graph of people and items (Shen et al., CIKM 2021)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.graph_filter import GraphFilter, filter_of


@dataclass(frozen=True, slots=True)
class GfCf:
    """Nothing is trained but some singular vectors; the defaults led on validation, Gowalla.

    For E likings, I items and D vectors it takes 8 E + 8 D I bytes and 8 rounds of 4 E · D + 4 I · D² operations; a
    query costs 4 E + 2 D I. Catalogues of hundreds of thousands.
    """

    factors: int = 1024  # singular vectors of the low-pass
    strength: float = 0.4  # of the low-pass beside the linear filter; 0 leaves it out
    rolloff: float = 0.6  # b of the low-pass; 0 = the ideal one of the paper
    user_power: float = 0.3  # a, the paper's ½; smaller: people of many likings say more
    item_power: float = 0.0  # c, 0 in the paper; larger: items of many likings come first
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> GraphFilter:
        if self.factors < 1 or not min(self.strength, self.rolloff) >= 0:
            raise ConfigError(
                f"factors is {self.factors}, strength {self.strength}, rolloff {self.rolloff}: factors must be greater"
                " than 0, the others at least 0",
                where="models.gfcf",
            )
        return filter_of(
            data.matrix,
            factors=self.factors,
            strength=self.strength,
            rolloff=self.rolloff,
            polynomial=np.ones(1, np.float32),
            user_power=self.user_power,
            item_power=self.item_power,
            half_life=self.half_life,
            seed=seed,
        )
