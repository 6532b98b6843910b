"""What every table is compared with: chance, and what everybody likes. A system that does not beat them is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.types import Candidates, Queries

System: TypeAlias = Callable[[Queries, int], Candidates]
"""Anything that answers: `source.recall`, or `lambda queries, k: pipeline.recommend(queries, k)[0]`."""


def random(items: int) -> System:
    """Any item with the same chance, drawn from the query's seed."""

    def answer(queries: Queries, k: int) -> Candidates:
        score = ops.chance(queries.seed[:, None], np.arange(items))
        return ops.top_of_matrix(score.astype(np.float32), k, queries.exclude, queries.allowed)

    return answer


def popular(train: Dataset) -> System:
    """The items that most events of the window like, whenever they were."""
    count = _likes(train, 0, len(train))

    def answer(queries: Queries, k: int) -> Candidates:
        return ops.top_of_matrix(np.tile(count, (len(queries), 1)), k, queries.exclude, queries.allowed)

    return answer


def recent(train: Dataset, days: float = 30) -> System:
    """The items that most events of the last `days` before the moment asked like; all-time popularity breaks ties."""
    time = train.events.time
    always = _likes(train, 0, len(train))
    always = always / (always.max(initial=0) + 1)  # below one event

    def answer(queries: Queries, k: int) -> Candidates:
        moment, which = np.unique(queries.time // DAY * DAY, return_inverse=True)  # counted once a day
        start, stop = np.searchsorted(time, moment - int(days * DAY)), np.searchsorted(time, moment)
        count = np.stack([_likes(train, int(a), int(b)) for a, b in zip(start, stop, strict=True)])
        return ops.top_of_matrix((count + always)[which], k, queries.exclude, queries.allowed)

    return answer


def _likes(train: Dataset, start: int, stop: int) -> NDArray[np.float32]:
    liked = train.weight[start:stop] > 0
    return np.bincount(train.events.item[start:stop][liked], minlength=train.n_items).astype(np.float32)
