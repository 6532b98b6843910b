"""EASE: every item predicted from all others by ridge regression, in closed form (Steck, WWW 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.dense import DenseItems


@dataclass(frozen=True, slots=True)
class Ease:
    """The best single source below about 20,000 items. For S items that somebody liked it takes 4 S² bytes (1.6 GB at
    20,000) and time that grows as S³; items that nobody liked, and all but the `most` liked, cost nothing.

    The default of `reg` led on the validation part of MovieLens-1M, leave-last.
    """

    reg: float = 200.0  # ridge; larger trusts popular pairs more
    most: int = 20_000  # items that take part, the most liked; the others are left to other sources
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> DenseItems:
        if not self.reg > 0 or self.most < 1:
            raise ConfigError(f"reg is {self.reg}, most {self.most}: each must be greater than 0", where="models.ease")
        item = dense.most_liked(data.matrix, self.most)
        weight = dense.gram(data.matrix[:, item])
        dense.regress(weight, self.reg, "models.ease")
        return DenseItems.of(weight, item, data.n_items, self.half_life)
