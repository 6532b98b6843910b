"""A sparse item-item matrix as a model: what stays small however many items there are.

It holds 8 bytes an entry; a query costs one operation for each entry in the rows of what is liked.
"""

from __future__ import annotations

from dataclasses import dataclass

from shortlist import _kernels, ops
from shortlist.models import spread
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores

SHARED = 1 << 22  # numbers: sums of all items for all queries are kept for `score` as long as they are no more


@dataclass(frozen=True, slots=True)
class SparseItems:
    """Adds up the rows of what a person likes; an item whose sum is not above 0 is not proposed."""

    neighbour: Ragged  # I lists of "item" and "score": what a liking of the list's item says about others
    half_life: float

    def __post_init__(self) -> None:
        self.neighbour.check_items(len(self.neighbour))

    def recall(self, queries: Queries, k: int) -> Candidates:
        if self._shares(queries):
            return ops.top_of_matrix(self._sums(queries), k, queries.exclude, queries.allowed, ops.TINY)
        liked = self._liked(queries)
        return ops.top_of_spread(liked, self.neighbour, len(self.neighbour), k, queries.exclude, queries.allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        if self._shares(queries):
            return _kernels.entries(self._sums(queries), found.query, found.item, ops.TINY)
        return spread.scores(self._liked(queries), self.neighbour, len(self.neighbour), found)

    def because(self, queries: Queries, found: Candidates) -> Rows:
        return spread.strongest(self._liked(queries), self.neighbour, len(self.neighbour), found)

    def _shares(self, queries: Queries) -> bool:
        return len(queries) * len(self.neighbour) <= SHARED

    def _sums(self, queries: Queries) -> Scores:
        """(B, I) the sums that `recall` ranks by."""
        return queries.once(
            self, "sums", lambda: spread.sums(self._liked(queries), self.neighbour, len(self.neighbour))
        )

    def _liked(self, queries: Queries) -> Ragged:
        return queries.once(self, "liked", lambda: ops.liked(queries.history, self.half_life, len(self.neighbour)))
