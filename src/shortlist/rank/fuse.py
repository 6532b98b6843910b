"""Reciprocal-rank fusion: sources vote by rank, nothing is learned (Cormack, Clarke, Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from shortlist import ops
from shortlist.types import Candidates, Part, Queries, Scores


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Sum over the sources of weight / (constant + rank of the row in that source)."""

    weights: Mapping[str, float] = field(default_factory=dict)  # by column; a source that is not named weighs 1
    constant: float = 60.0

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return ops.reciprocal_rank(found.query, self._voting(found), len(queries), self.constant, self.weights)

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """For each source 1 / (constant + rank), 0 where it did not propose the row."""
        said = []
        for name, column in self._voting(found).items():
            rank = ops.rank_within(found.query, column, len(queries))
            value = np.where(np.isnan(rank), np.float32(0), 1 / (np.float32(self.constant) + rank))
            said.append(Part(name, value, np.full(len(found), self.weights.get(name, 1.0), np.float32)))
        return said

    def _voting(self, found: Candidates) -> dict[str, Scores]:
        named = {name: found.columns[name] for name in self.weights if name in found.columns}
        return {**ops.source_columns(found.columns), **named}
