"""User neighbours: what the people most like this one took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.dataset import Dataset, rows_of
from shortlist.models import spread
from shortlist.models.weighting import weighted
from shortlist.types import Candidates, Queries, Ragged, Scores

ANYONE = np.empty(0, np.bool_)


@dataclass(frozen=True, slots=True)
class UserKnn:
    """Cosine of a person's likings with everybody's in training; works for histories that training never saw.

    The defaults led on the validation part of the anime ratings.
    """

    neighbours: int = 100
    weighting: str = "cosine"  # cosine | tfidf | bm25
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> UserKnnModel:
        matrix = weighted(data.matrix.T.tocsr(), self.weighting)
        norm = np.sqrt(matrix.power(2).sum(axis=0))
        matrix.data = (matrix.data / np.maximum(norm[matrix.indices], 1e-12)).astype(np.float32)
        return UserKnnModel(rows_of(matrix), rows_of(data.matrix), self.neighbours, self.half_life)


@dataclass(frozen=True, slots=True)
class UserKnnModel:
    """Finds the neighbours in the request, then adds up what they like."""

    fan: Ragged  # I lists: "item" is a user row, "score" the share of the user's length that the item makes up
    taste: Ragged  # U lists of "item" and "score"
    neighbours: int
    half_life: float

    def __post_init__(self) -> None:
        self.fan.check_items(len(self.taste))
        self.taste.check_items(len(self.fan))

    def recall(self, queries: Queries, k: int) -> Candidates:
        kin = self._neighbours(queries)
        return ops.top_of_spread(kin, self.taste, len(self.fan), k, queries.exclude, queries.allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return spread.scores(self._neighbours(queries), self.taste, len(self.fan), found)

    def _neighbours(self, queries: Queries) -> Ragged:
        """B lists: "item" is a user row, "weight" the similarity; nobody is their own neighbour."""
        liked = ops.liked(queries.history, self.half_life, len(self.fan))
        known = (queries.user >= 0) & (queries.user < len(self.taste))
        oneself = Ragged(np.concatenate(([0], np.cumsum(known, dtype=np.int64))), {"item": queries.user[known]})
        kin = ops.top_of_spread(liked, self.fan, len(self.taste), self.neighbours, oneself, ANYONE)
        return Ragged(ops.pointers(kin.query, len(queries)), {"item": kin.item, "weight": kin.columns["score"]})
