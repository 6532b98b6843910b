"""A few places for what is not known well enough to earn one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Mask, Positions, Queries, Reason


@dataclass(frozen=True, slots=True)
class ExploreSlots:
    """Of the k places `slots` go to rows that nobody but `source` proposed, at places drawn with the query's seed.

    Such rows come in no other way, so there are never more than `slots` of them, and no more when the list is short.
    Rows that another source proposed too compete by score. The same seed draws the same rows and places. A query's
    column "exploration" is its number of slots.
    """

    source: str = "explore"  # the name of the exploring source in the pipeline
    slots: int = 1

    def __post_init__(self) -> None:
        if self.slots < 0:
            raise ConfigError(f"slots is {self.slots}, but must not be negative", where="rerank.explore")

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        score, size = found.columns["score"], len(queries)
        new = self._unproven(found)
        if not new.any():
            return ops.topk(found.query, score, k, size)
        ranked = ops.topk(found.query, score, len(found), size)
        proven = ranked[~new[ranked]]
        tried = self._draw(queries, found, np.flatnonzero(new & ~np.isnan(score)), k)

        earned = proven[~np.isnan(score[proven])]
        count = np.bincount(found.query[tried], minlength=size)
        length = np.minimum(np.bincount(found.query[earned], minlength=size) + count, k)
        earned = earned[_rank(found, earned, size) < (length - count)[found.query[earned]]]
        query = np.repeat(np.arange(size, dtype=np.int32), length)
        place = np.arange(len(query)) - np.repeat(np.cumsum(length) - length, length)
        draw = ops.chance(ops.mix(queries.seed[query]), place).astype(np.float32)
        given = ops.rank_within(query, draw, size) <= count[query]
        page = np.empty(len(query), np.intp)
        page[given], page[~given] = tried, earned
        return ops.followed_by(page, proven, found.query, k, size)

    def moved(self, queries: Queries, found: Candidates, k: int, row: int) -> Reason | None:
        """Whether the row got a place by lot, or how many places went by lot to others."""
        new = self._unproven(found)
        placed = self.order(queries, found, k)
        facts = {
            "slots": int(queries.given("exploration", self.slots)[0]),
            "new": int(new.sum()),
            "source": self.source,
        }
        if not new[row]:
            facts["slots"] = int(new[placed].sum())
            return Reason("{slots} of the places went to items of {source}, by lot", facts) if facts["slots"] else None
        if row in placed:
            return Reason("drawn by lot from {new} items of {source}, for {slots} of the places", facts)
        return Reason("not drawn: {slots} of the places goes by lot to the {new} items of {source}", facts)

    def _unproven(self, found: Candidates) -> Mask:
        sources = ops.source_columns(found.columns)
        new = ~np.isnan(sources.pop(self.source, np.full(len(found), np.nan, np.float32)))
        for column in sources.values():
            new &= np.isnan(column)
        return new

    def _draw(self, queries: Queries, found: Candidates, new: Positions, k: int) -> Positions:
        """At most `slots` of the rows `new` for each query, by lot."""
        query, slots = found.query[new], queries.given("exploration", self.slots)
        draw = ops.chance(queries.seed[query], found.item[new]).astype(np.float32)
        drawn = new[ops.topk(query, draw, min(int(slots.max(initial=0)), k), len(queries))]
        return drawn[_rank(found, drawn, len(queries)) < slots[found.query[drawn]]]


def _rank(found: Candidates, ranked: Positions, queries: int) -> Positions:
    """0 for the first of each query, 1 for the next ..."""
    query = found.query[ranked]
    return np.arange(len(ranked)) - ops.pointers(query, queries)[:-1][query]
