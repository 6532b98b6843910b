"""What most people like now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.dataset import Dataset, duration
from shortlist.recall.given import Given

FLOOR = 2.0**-20  # what the oldest vote still weighs: one click of today must not make all that was liked before equal


@dataclass(frozen=True, slots=True)
class Popular:
    """Counts the people who like an item, each once, at the moment of the last liking: a few who repeat count little.

    Where nothing in the window is a liking (a log of plain views), everyone counts who met the item without disliking.
    """

    window: str = ""  # "30d" before the end of the data; empty = everything
    half_life: str = "30d"  # of a person's vote; empty = no decay

    def fit(self, data: Dataset, *, seed: int) -> Given:
        if self.window:
            data = data.only(data.events.time > data.now - duration(self.window))
        liked = data.weight > 0
        counted = np.flatnonzero(liked if liked.any() else data.weight == 0)[::-1]  # newest first
        pair = data.events.user[counted].astype(np.int64) * data.n_items + data.events.item[counted]
        last = counted[np.unique(pair, return_index=True)[1]]
        vote = np.ones(len(last))
        if self.half_life:
            vote = np.maximum(ops.decay(data.now - data.events.time[last], duration(self.half_life)), FLOOR)
        score = np.bincount(data.events.item[last], vote, data.n_items)
        return Given.ranked(np.where(score > 0, score, -np.inf).astype(np.float32))
