"""Reciprocal-rank fusion: sources vote by rank, nothing is learned (Cormack, Clarke, Büttcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from shortlist import ops
from shortlist.types import Candidates, Queries, Scores


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Sum over the sources of weight / (constant + rank of the row in that source)."""

    weights: Mapping[str, float] = field(default_factory=dict)  # by column; a source that is not named weighs 1
    constant: float = 60.0

    def score(self, queries: Queries, found: Candidates) -> Scores:
        named = {name: found.columns[name] for name in self.weights if name in found.columns}
        voting = {**ops.source_columns(found.columns), **named}
        return ops.reciprocal_rank(found.query, voting, len(queries), self.constant, self.weights)
