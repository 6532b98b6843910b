"""The newest items of the catalog, those of a second ago included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shortlist.dataset import DAY
from shortlist.derived import Derived, all_rows, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.recall.given import first_permitted
from shortlist.types import Candidates, Queries, Rows


@dataclass(frozen=True)
class Fresh:
    """Newest first by the time column `column`; the future is not proposed. Scores are minus the age in days.

    An item without a time counts as added when the newest item before it was, and a catalog without the column is in
    order of arrival: the last row is the newest, and scores count down from 0.
    """

    catalog: Catalog
    column: str = "time"

    def recall(self, queries: Queries, k: int) -> Candidates:
        item, time = self._newest()
        dated = bool(len(time))
        future = np.searchsorted(-time, -queries.time) if dated else np.zeros(len(queries), np.intp)
        query, position = first_permitted(item, queries, k, future)
        score = (time[position] - queries.time[query]) / DAY if dated else -position
        return Candidates(query, item[position], {"score": score.astype(np.float32)})

    @cached_property
    def _newest(self) -> Derived[tuple[Rows, NDArray[np.int64]]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> tuple[Rows, NDArray[np.int64]]:
        """Item rows, newest first, and their times in that order; no times when there is no such column."""
        rows = all_rows(self.catalog)[::-1]
        if self.column not in self.catalog.names("item"):
            return rows, np.empty(0, np.int64)
        time = self.catalog.read("item", rows[::-1], [self.column])[self.column]
        if kind_of(time) != "time":
            raise ConfigError(
                f"column {self.column!r} of the items is a {kind_of(time) or 'text'}, not a time",
                where="recall.fresh: column",
                hint="load it as a time column, or name another",
            )
        time = np.where(time < 0, np.maximum.accumulate(time), time)[::-1]
        newest = np.argsort(-time, kind="stable")
        return rows[newest], time[newest]
