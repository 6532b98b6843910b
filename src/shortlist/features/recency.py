"""How long ago: the item's start, the person's last event, their last meeting with this item; and the hour of day."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY
from shortlist.derived import Derived, all_rows, kind_of
from shortlist.errors import ConfigError
from shortlist.features.wording import number
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason, Scores

HOUR = DAY // 24


@dataclass(frozen=True)
class Recency:
    """Columns of float32, NaN where there is nothing to count from.

    `recency.age` days since the item's time, `recency.last` hours since the person's last event, `recency.met` how many
    events ago the person last met this item (1 = their last event), `recency.hour` of the day, UTC.
    """

    catalog: Catalog
    column: str = "time"  # time column of the items

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        history, now = queries.history, queries.time
        last = np.full(len(queries), np.nan)
        filled = history.length > 0
        last[filled] = (now[filled] - history["time"][history.ptr[1:][filled] - 1]) / HOUR
        hour = np.mod(now, DAY) / HOUR
        added = ops.gather(self._added(), found.item, -1)
        age = np.where(added == -1, np.nan, (now[found.query] - added) / DAY)
        return {
            "recency.age": age.astype(np.float32),
            "recency.last": last[found.query].astype(np.float32),
            "recency.met": _events_ago(queries, found),
            "recency.hour": hour[found.query].astype(np.float32),
        }

    def update(self, events: Events) -> None:
        """The history arrives with the query."""

    def words(self, name: str, value: Column) -> Reason | None:
        some, none = {
            "recency.age": ("{value} days old", "nobody knows how old it is"),
            "recency.last": ("you were here {value} hours ago", "you have not been here before"),
            "recency.met": ("you met it {value} events ago", "you have not met it lately"),
            "recency.hour": ("asked at {value} o'clock UTC", ""),
        }.get(name, ("", ""))
        return number(value, some, none) if some else None

    @cached_property
    def _added(self) -> Derived[NDArray[np.int64]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> NDArray[np.int64]:
        rows = all_rows(self.catalog)
        column = self.catalog.read("item", rows, [self.column])[self.column]
        if kind_of(column) != "time":
            raise ConfigError(
                f"column {self.column!r} of the items is a {kind_of(column) or 'text'}, not a time",
                where="features.recency: column",
            )
        return column


def _events_ago(queries: Queries, found: Candidates) -> Scores:
    """(N,) place of the newest event on the item in its query's history, counted from the end."""
    history = queries.history
    ago = np.full(len(found), np.nan, np.float32)
    if not len(history["item"]):
        return ago
    pair = (history.owner.astype(np.int64) << 32) | history["item"].astype(np.int64)
    back = history.ptr[1:][history.owner] - np.arange(len(pair))
    order = np.lexsort((back, pair))
    wanted = (found.query.astype(np.int64) << 32) | found.item.astype(np.int64)
    at = np.minimum(np.searchsorted(pair, wanted, sorter=order), len(pair) - 1)
    met = pair[order[at]] == wanted
    ago[met] = back[order[at[met]]]
    return ago
