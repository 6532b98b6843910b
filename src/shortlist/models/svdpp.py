"""SVD++: matrix factorisation in which it also counts what a person rated, whatever they gave it (Koren, KDD 2008)."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.dataset import Dataset
from shortlist.models.rating import Descent, RatingModel


@dataclass(frozen=True, slots=True)
class SvdPp:
    """Better than `BiasedMf` where what people choose to rate says something."""

    factors: int = 62  # two less than a multiple of 16 leave no column unused
    epochs: int = 60
    rate: float = 0.01  # length of the first steps; it falls evenly to 0
    reg: float = 0.06
    reg_bias: float = 0.01
    deviation: float = 0.1  # length of the random vectors at the start

    def fit(self, data: Dataset, *, seed: int) -> RatingModel:
        how = Descent(self.factors, self.epochs, self.rate, self.reg, self.reg_bias, self.deviation)
        return how.run(data, data.n_items, seed=seed)
