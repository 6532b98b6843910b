"""One source after another: the next is asked only for the places that those before it left empty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.protocols import Source
from shortlist.types import Candidates, Queries, Ragged


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the first rung proposes, then what the second adds, until there are k. Scores count down from 0.

    As a fallback: a list for everyone first, then anything that the catalog holds, so that no page stays short.
    """

    rungs: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not self.rungs:
            raise ConfigError("rungs is empty", where="recall.ladder", hint="name at least one source")

    def recall(self, queries: Queries, k: int) -> Candidates:
        found = Candidates.empty()
        for rung in self.rungs:
            ptr = ops.pointers(found.query, len(queries))
            short = np.flatnonzero(np.diff(ptr) < k).astype(np.int32)
            if not len(short):
                break
            had = Ragged(ptr, {"item": found.item}).take(short)
            more = rung.recall(queries.take(short).with_exclude(had), k)
            found = Candidates.concat([found, Candidates(short[more.query], more.item, more.columns)])
        place = np.arange(len(found)) - ops.pointers(found.query, len(queries))[:-1][found.query]
        return found.with_columns({"score": -place.astype(np.float32)}).take(place < k)
