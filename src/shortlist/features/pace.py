"""How much somebody has done, and how fast they are at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import DAY
from shortlist.features.wording import number
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason

HOUR, SECOND = DAY // 24, DAY // 86_400


@dataclass(frozen=True, slots=True)
class Pace:
    """Columns of float32, the same for all candidates of a query: `pace.length` log(1 + events in the history),
    `pace.since` log(1 + seconds since the last one), NaN without any, `pace.hour` log(1 + events of the last hour)."""

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        history, now = queries.history, queries.time
        filled = history.length > 0
        since = np.full(len(queries), np.nan)
        last = history["time"][history.ptr[1:][filled] - 1]
        since[filled] = np.log1p(np.maximum(now[filled] - last, 0) / SECOND)
        recent = history["time"] > (now - HOUR)[history.owner]
        hour = np.bincount(history.owner, recent, len(queries))
        made = {"pace.length": np.log1p(history.length), "pace.since": since, "pace.hour": np.log1p(hour)}
        return {name: column.astype(np.float32)[found.query] for name, column in made.items()}

    def update(self, events: Events) -> None:
        """The history arrives with the query."""

    def words(self, name: str, value: Column) -> Reason | None:
        some = {
            "pace.length": "you have done {value} things here",
            "pace.since": "you were here {value} seconds ago",
            "pace.hour": "you have done {value} things in the last hour",
        }.get(name)
        return None if some is None else number(np.round(np.expm1(value)), some, "you have not been here before")
