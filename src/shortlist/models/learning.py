"""People held out while a neural model is learned, which tell when to stop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.protocols import Source
from shortlist.types import Queries, Ragged, Rows

HELD_SHARE = 0.1  # of the people at most are held out to see when to stop
DEPTH = 10  # of the list that is looked at for it
FEWEST = 3  # likings of somebody who is held out


@dataclass(frozen=True, slots=True)
class Held:
    """The last liking of some people, hidden from learning."""

    queries: Queries  # (B,) asked at the moment of that liking, with all that was liked before
    target: Rows  # (B,)

    def ndcg(self, model: Source) -> float:
        """Mean NDCG@10 of the hidden items among all that the person did not like before."""
        found = model.recall(self.queries, DEPTH)
        place = np.arange(len(found)) - ops.pointers(found.query, len(self.queries))[:-1][found.query]
        hit = found.item == self.target[found.query]
        return float((hit / np.log2(place + 2.0)).sum() / max(1, len(self.queries)))


def hold_out(liked: Ragged, most: int, chance: np.random.Generator) -> tuple[Ragged, Held]:
    """`liked` (U lists by user row, oldest first) without the last row of `most` people (a tenth of all at most)."""
    able = np.flatnonzero(liked.length >= FEWEST)
    who = np.sort(chance.choice(able, min(most, int(len(able) * HELD_SHARE)), replace=False))
    last = liked.ptr[1:][who] - 1
    kept = np.ones(len(liked["item"]), np.bool_)
    kept[last] = False
    rest = liked.where(kept)
    history = rest.take(who)
    queries = Queries.of(
        who, history=history, exclude=Ragged(history.ptr, {"item": history["item"]}), time=liked["time"][last]
    )
    return rest, Held(queries, liked["item"][last])
