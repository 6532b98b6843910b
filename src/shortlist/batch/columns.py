"""The columns of a pipeline's candidates at two moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.batch.train import BLOCK
from shortlist.dataset import Dataset, duration
from shortlist.pipeline import Pipeline, Trace
from shortlist.types import Candidates, Columns, Queries, Ragged


@dataclass(frozen=True, slots=True)
class Moments:
    """Columns of the same names, (N, ...) each, before and now."""

    before: Columns
    now: Columns
    people: tuple[int, int]
    rows: tuple[int, int]


def two_moments(pipeline: Pipeline, data: Dataset, window: str, people: int) -> Moments:
    """What `pipeline` reads for the people who were active last: `window` before the last event, and after it."""
    last = int(data.events.time[-1]) + 1 if len(data) else 0
    parts, asked = [], []
    for moment in (last - duration(window), last):
        queries = active(data.before(moment), people)
        parts.append(_candidates(pipeline, queries))
        asked.append(len(queries))
    (before, now), (then, today) = parts, asked
    return Moments(before.columns, now.columns, (then, today), (len(before), len(now)))


def active(past: Dataset, people: int) -> Queries:
    """The `people` whose last event is the newest, asked at the end of `past`."""
    users, newest = np.unique(past.events.user[::-1], return_index=True)
    rows = np.sort(users[np.argsort(newest, kind="stable")[:people]]).astype(np.int32)
    history = past.histories(rows)
    exclude = Ragged(history.ptr, {"item": history["item"]})
    return Queries.of(rows, history=history, exclude=exclude, time=past.now)


def _candidates(pipeline: Pipeline, queries: Queries) -> Candidates:
    parts = []
    for start in range(0, len(queries), BLOCK):
        block = queries.take(np.arange(start, min(start + BLOCK, len(queries))))
        _, found = pipeline.candidates(block, Trace())
        parts.append(Candidates((found.query + start).astype(np.int32), found.item, found.columns))
    return Candidates.concat(parts)
