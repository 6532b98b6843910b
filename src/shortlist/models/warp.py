"""Weighted approximate-rank pairwise loss: factors for the top of the list (Weston, Bengio, Usunier, IJCAI 2011)."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.pairwise import Descent, PairwiseModel, learn


@dataclass(frozen=True, slots=True)
class Warp:
    """As BPR, but draws until an item comes within a margin of 1 of the liking, and steps the farther the sooner one
    does: log of the rank that this suggests, 1 for the first draw.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    factors: int = 32
    rate: float = 0.05  # length of the first steps; it falls evenly to 0
    reg: float = 0.15
    epochs: int = 40  # steps in training, in likings
    trials: int = 30  # draws before a liking is left as it is
    popularity: float = 0.5  # items are drawn by likings ** popularity: 0 = all alike, 1 = as often as they were liked
    steps: int = 500  # from which a person's vector is found at recommendation time
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter
    threads: int = 1  # 0 = every core: quicker and as good, but no two fits are quite the same

    def fit(self, data: Dataset, *, seed: int) -> PairwiseModel:
        if self.trials < 1:
            raise ConfigError(f"trials is {self.trials}, it must be at least 1", where="models.warp")
        descent = Descent(self.factors, self.trials, self.rate, self.reg, self.steps, self.half_life)
        return learn(data, descent, self.epochs, self.popularity, seed=seed, threads=self.threads)
