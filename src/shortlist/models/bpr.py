"""Bayesian personalised ranking: factors for clicks (Rendle, Freudenthaler, Gantner, Schmidt-Thieme, UAI 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.dataset import Dataset
from shortlist.models.pairwise import Descent, PairwiseModel, learn


@dataclass(frozen=True, slots=True)
class Bpr:
    """Maximises log σ(score of a liking - score of an item drawn at random): cheap, for any size, for ranking alone.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    factors: int = 128
    rate: float = 0.05  # length of the first steps; it falls evenly to 0
    reg: float = 0.01
    epochs: int = 30  # steps in training, in likings
    popularity: float = 0.5  # items are drawn by likings ** popularity: 0 = all alike, 1 = as often as they were liked
    steps: int = 1000  # from which a person's vector is found at recommendation time, about a quarter of a millisecond
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter
    threads: int = 1  # 0 = every core: quicker and as good, but no two fits are quite the same

    def fit(self, data: Dataset, *, seed: int) -> PairwiseModel:
        descent = Descent(self.factors, 0, self.rate, self.reg, self.steps, self.half_life)
        return learn(data, descent, self.epochs, self.popularity, seed=seed, threads=self.threads)
