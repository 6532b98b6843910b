"""Several rerankers on one page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.protocols import Reranker
from shortlist.types import Candidates, Positions, Queries


@dataclass(frozen=True, slots=True)
class Chain:
    """One reranker after another. Each is asked for k places and finds, as "score", the order made before it.

    Rows that a step leaves out follow those it placed, so that a later step can draw on them. What the last step
    promises holds for the page: Mmr belongs first, ExploreSlots next, Caps last.
    """

    steps: tuple[Reranker, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise ConfigError("steps is empty", where="rerank.chain", hint="name at least one reranker")

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        *_, (last, given) = self.walk(queries, found, k)
        return last.order(queries, given, k)

    def walk(self, queries: Queries, found: Candidates, k: int) -> Iterator[tuple[Reranker, Candidates]]:
        """Each step with the rows as it finds them: "score" is the order that was made before it."""
        size, unscored = len(queries), np.isnan(found.columns["score"])
        place = np.arange(len(found)) - ops.pointers(found.query, size)[:-1][found.query]
        for step in self.steps[:-1]:
            yield step, found
            before = ops.topk(found.query, found.columns["score"], len(found), size)
            after = ops.followed_by(step.order(queries, found, k), before, found.query, len(found), size)
            score = np.empty(len(found), np.float32)
            score[after] = -place
            score[unscored] = np.nan
            found = found.with_columns({"score": score})
        yield self.steps[-1], found
