"""What people rate best, with the doubt that few votes deserve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.recall.given import Given


@dataclass(frozen=True, slots=True)
class TopRated:
    """The mean rating after adding `prior` votes of the overall mean: ten votes never beat ten thousand good ones."""

    prior: float = 100.0  # votes
    least: int = 1  # items with fewer votes are not listed

    def fit(self, data: Dataset, *, seed: int) -> Given:
        if not self.prior >= 0:
            raise ConfigError(f"prior is {self.prior}, but must be 0 or greater", where="recall.toprated")
        ratings = data.ratings
        votes = np.bincount(ratings.indices, minlength=data.n_items)
        total = np.bincount(ratings.indices, ratings.data, data.n_items)
        mean = total.sum() / max(votes.sum(), 1)
        shrunk = (total + self.prior * mean) / np.maximum(votes + self.prior, 1)
        return Given.ranked(np.where(votes >= max(self.least, 1), shrunk, -np.inf).astype(np.float32))
