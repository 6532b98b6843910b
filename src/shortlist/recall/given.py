"""A fixed list, best first, for everyone: what editors chose, what was computed elsewhere, the static fallback."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import _kernels
from shortlist.errors import ShapeError
from shortlist.types import Candidates, Positions, Queries, Rows, Scores


@dataclass(frozen=True, slots=True)
class Given:
    """The first k items of the list that may be proposed. Popular and top-rated items are such lists, too."""

    item: Rows  # (N,) no item twice
    scores: Scores  # (N,) falling

    def __post_init__(self) -> None:
        if len(self.item) != len(self.scores) or self.item.min(initial=0) < 0:
            raise ShapeError(
                f"Given: {len(self.item)} items, none below 0, need as many scores, not {len(self.scores)}"
            )

    def recall(self, queries: Queries, k: int) -> Candidates:
        query, position = first_permitted(self.item, queries, k, np.zeros(len(queries), np.intp))
        return Candidates(query, self.item[position], {"score": self.scores[position]})

    @staticmethod
    def ranked(score: Scores) -> Given:
        """All items whose score (I,) is above -inf, best first, ties by item row."""
        order = np.argsort(-score, kind="stable")
        item = order[score[order] > -np.inf].astype(np.int32)
        return Given(item, score[item].astype(np.float32))


def first_permitted(item: Rows, queries: Queries, k: int, start: Positions) -> tuple[Rows, Positions]:
    """Walk `item` (N,), where nothing occurs twice, from place `start` (B,) on, and stop after k permitted ones.

    Returns (query, place in `item`), each (M,). A query costs k and the longest exclude list.
    """
    return _kernels.first_permitted(
        item, start.astype(np.int64), k, queries.exclude.ptr, queries.exclude["item"], queries.allowed
    )
