"""EDLAE: EASE learned to predict items that were dropped from the history (Steck, NeurIPS 2020).

Dropping each liking with chance p, in expectation over all ways to do it, is a ridge of p / (1 - p) times the item's
own squared weight: popular items are held back in proportion, where EASE holds all back alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.dense import DenseItems


@dataclass(frozen=True, slots=True)
class Edlae:
    """In the place of EASE where the catalogue has a long tail. Memory and time are those of EASE: 4 S² bytes and S³
    operations for S items, up to about 20,000.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    drop: float = 0.1  # chance that a liking is left out
    reg: float = 100.0  # ridge beside it, the same for all items
    most: int = 20_000  # items that take part, the most liked; the others are left to other sources
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> DenseItems:
        if not 0 <= self.drop < 1 or not self.reg > 0 or self.most < 1:
            raise ConfigError(
                f"drop is {self.drop}, reg {self.reg}, most {self.most}: drop must be at least 0 and less than 1,"
                " the others greater than 0",
                where="models.edlae",
            )
        item = dense.most_liked(data.matrix, self.most)
        weight = dense.gram(data.matrix[:, item])
        dense.regress(weight, self.reg + self.drop / (1 - self.drop) * weight.diagonal(), "models.edlae")
        return DenseItems.of(weight, item, data.n_items, self.half_life)
