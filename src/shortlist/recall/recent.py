"""More like each of the last few: every recent item names its own neighbours, and they take turns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.protocols import Explainer, Source
from shortlist.types import Candidates, Queries, Ragged, Rows


@dataclass(frozen=True, slots=True)
class Recent:
    """Asks `source` about each of the `items` last liked items alone; k / count from each, in turns, the newest first.

    An item that several name stands where the first named it, and the next of a list takes its place. Never proposes
    the recent items themselves. Scores count down from 0.
    """

    source: Source
    items: int = 10

    def __post_init__(self) -> None:
        if self.items < 1:
            raise ConfigError(f"items is {self.items}, but must be at least 1", where="recall.recent")

    def recall(self, queries: Queries, k: int) -> Candidates:
        recent = self._recent(queries.history)
        named = self.source.recall(_each_alone(queries, recent), k)
        query = recent.owner[named.query]
        turn = np.arange(len(named)) - ops.pointers(named.query, len(recent["item"]))[:-1][named.query]
        newer = recent.ptr[query + 1] - named.query
        order = np.lexsort((newer, turn, query))
        first = np.sort(np.unique(_pair(query, named.item)[order], return_index=True)[1])
        query, item = query[order][first], named.item[order][first]
        place = np.arange(len(query)) - ops.pointers(query, len(queries))[:-1][query]
        return Candidates(query, item, {"score": -place.astype(np.float32)}).take(place < k)

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The recent item that spoke most for each row, as the source says it."""
        if isinstance(self.source, Explainer):
            return self.source.because(replace(queries, history=self._recent(queries.history)), found)
        return np.full(len(found), -1, np.int32)

    def _recent(self, history: Ragged) -> Ragged:
        """The last `items` different liked items of each list, oldest first, each where it was liked last."""
        liked = history.where(history["weight"] > 0)
        newest_first = _pair(liked.owner, liked["item"])[::-1]
        last = np.zeros(len(newest_first), np.bool_)
        last[len(last) - 1 - np.unique(newest_first, return_index=True)[1]] = True
        return liked.where(last).last(self.items)


def _each_alone(queries: Queries, recent: Ragged) -> Queries:
    """A question for each row of `recent`, whose history is that item alone; no recent item may be proposed."""
    closed = queries.with_exclude(Ragged(recent.ptr, {"item": recent["item"]}))
    alone = closed.take(recent.owner)
    return replace(alone, history=Ragged(np.arange(len(alone) + 1, dtype=np.int64), recent.columns))


def _pair(owner: Rows, item: Rows) -> np.ndarray:
    return (owner.astype(np.int64) << 32) | item.astype(np.uint32)
