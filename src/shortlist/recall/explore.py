"""Anything at all: gives items without a past a chance, and keeps the data from confirming itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Queries

CELLS = 1 << 22  # chances drawn at a time


@dataclass(frozen=True, slots=True)
class Explore:
    """Every permitted item of the catalog with the same chance, drawn from the query's seed; the draw is the score."""

    catalog: Catalog

    def recall(self, queries: Queries, k: int) -> Candidates:
        size = self.catalog.size("item")
        block = max(1, CELLS // max(size, 1))
        starts = range(0, len(queries), block)
        parts = [self._draw(queries, np.arange(s, min(s + block, len(queries))), size, k) for s in starts]
        return Candidates.concat(parts)

    def _draw(self, queries: Queries, asking: np.ndarray, size: int, k: int) -> Candidates:
        draw = ops.chance(queries.seed[asking][:, None], np.arange(size)).astype(np.float32)
        found = ops.top_of_matrix(draw, k, queries.exclude.take(asking), queries.allowed)
        return Candidates(asking[found.query].astype(np.int32), found.item, found.columns)
