"""The k best."""

from __future__ import annotations

from dataclasses import dataclass

from shortlist import ops
from shortlist.types import Candidates, Positions, Queries


@dataclass(frozen=True, slots=True)
class TopN:
    """By score alone."""

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        return ops.topk(found.query, found.columns["score"], k, len(queries))
