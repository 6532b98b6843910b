"""A sparse item-item matrix as a model: what stays small however many items there are.

It holds 8 bytes an entry; a query costs one operation for each entry in the rows of what is liked.
"""

from __future__ import annotations

from dataclasses import dataclass

from shortlist import ops
from shortlist.models import spread
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores


@dataclass(frozen=True, slots=True)
class SparseItems:
    """Adds up the rows of what a person likes; an item whose sum is not above 0 is not proposed."""

    neighbour: Ragged  # I lists of "item" and "score": what a liking of the list's item says about others
    half_life: float

    def __post_init__(self) -> None:
        self.neighbour.check_items(len(self.neighbour))

    def recall(self, queries: Queries, k: int) -> Candidates:
        liked = self._liked(queries)
        return ops.top_of_spread(liked, self.neighbour, len(self.neighbour), k, queries.exclude, queries.allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return spread.scores(self._liked(queries), self.neighbour, len(self.neighbour), found)

    def because(self, queries: Queries, found: Candidates) -> Rows:
        return spread.strongest(self._liked(queries), self.neighbour, len(self.neighbour), found)

    def _liked(self, queries: Queries) -> Ragged:
        return ops.liked(queries.history, self.half_life, len(self.neighbour))
