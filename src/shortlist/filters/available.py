"""Only what can be had now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.derived import Derived, all_rows, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Mask, Queries, Ragged, Reason, Rows

FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Available:
    """Takes out items that were removed, whose `column` says no, or that are outside their time.

    `column` may be a number (0 or less = no, as a stock count), a text (one of `no`, in any case) or a flag. No value
    means available, and so does a catalog without the column.
    `start` and `end` name time columns: available from `start` on and until just before `end`.
    """

    catalog: Catalog
    column: str = "available"
    no: tuple[str, ...] = ("no", "n", "false", "f", "0", "off", "unavailable", "sold out")
    start: str = ""
    end: str = ""

    def narrow(self, queries: Queries) -> Queries:
        have, start, end = self._facts()
        if not len(queries):
            return queries
        if not len(start):
            return queries if have.all() else queries.with_allowed(have)
        earliest, latest = queries.time.min(), queries.time.max()
        queries = queries.with_allowed(have & (start <= latest) & (end > earliest))
        moving = np.flatnonzero(have & ((start > earliest) | (end <= latest))).astype(np.int32)
        if earliest == latest or not len(moving):
            return queries
        out = (start[moving] > queries.time[:, None]) | (end[moving] <= queries.time[:, None])  # (B, moving)
        ptr = np.concatenate(([0], np.cumsum(out.sum(axis=1)))).astype(np.int64)
        return queries.with_exclude(Ragged(ptr, {"item": moving[np.nonzero(out)[1]]}))

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        have, start, end = self._facts()
        kept: Mask = ops.gather(have, found.item, True)
        if not len(start):
            return kept
        now = queries.time[found.query]
        kept &= ops.gather(start, found.item, -1) <= now
        kept &= ops.gather(end, found.item, FOREVER) > now
        return kept

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        _, start, end = self._facts()
        named = [name for name in self.catalog.names("item") if name == self.column]
        column = self.catalog.read("item", found.item, named)
        present, now = self.catalog.present("item", found.item), queries.time[found.query]
        told = []
        for row, item in enumerate(found.item.tolist()):
            if not present[row]:
                told.append(Reason("removed from the catalogue"))
            elif len(start) and start[item] > now[row]:
                told.append(Reason("not available before {start}", {"start": start[item]}))
            elif len(end) and end[item] <= now[row]:
                told.append(Reason("unavailable since {end}", {"end": end[item]}))
            else:
                told.append(Reason(f"unavailable: {self.column} is {{value}}", {"value": column[self.column][row]}))
        return told

    @cached_property
    def _facts(self) -> Derived[tuple[Mask, NDArray[np.int64], NDArray[np.int64]]]:
        """By item row: it can be had, from, until; the times are empty where no item has any."""
        return Derived(self.catalog, self._read)

    def _read(self) -> tuple[Mask, NDArray[np.int64], NDArray[np.int64]]:
        rows = all_rows(self.catalog)
        have = self.catalog.present("item", rows)
        if self.column in self.catalog.names("item"):
            have &= self._says_yes(self.catalog.read("item", rows, [self.column])[self.column])
        if not (self.start or self.end):
            return have, np.empty(0, np.int64), np.empty(0, np.int64)
        start = self._time(self.start, rows)
        end = self._time(self.end, rows)
        return have, start, np.where(end < 0, FOREVER, end)

    def _says_yes(self, column: Column) -> Mask:
        match kind_of(column):
            case "flag":
                known: Mask = column != 0
                return known
            case "number":
                return np.isnan(column) | (column > 0)
            case "text":
                return np.array([value.strip().casefold() not in self.no for value in column], np.bool_)
            case "":
                return np.ones(len(column), np.bool_)
            case other:
                raise ConfigError(
                    f"column {self.column!r} of the items is a {other}",
                    where="filters.available: column",
                    hint="name a number, a text or a flag; times go into start and end",
                )

    def _time(self, name: str, rows: Rows) -> NDArray[np.int64]:
        if not name:
            return np.full(len(rows), -1, np.int64)
        column = self.catalog.read("item", rows, [name])[name]
        if kind_of(column) != "time":
            raise ConfigError(
                f"column {name!r} of the items is a {kind_of(column) or 'text'}, not a time",
                where="filters.available: start, end",
                hint="load it as a time column",
            )
        return column
