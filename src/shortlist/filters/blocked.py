"""Never these: items taken off by the operator, and those that a person does not want."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shortlist import ops
from shortlist.derived import Derived, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Mask, Queries, Ragged, Reason, Rows


@dataclass(frozen=True)
class Blocked:
    """Takes out `items` for everybody, and for each user the item ids in the list column `column`.

    The column is looked for among the facts of the queries, then among those of the catalog's users; ids that no item
    has (yet) block nothing (yet).
    """

    catalog: Catalog
    items: tuple[str, ...] = ()  # ids
    column: str = ""  # user column, a list of item ids

    def narrow(self, queries: Queries) -> Queries:
        static = self._static()
        if len(static):
            allowed = np.ones(int(static.max()) + 1, np.bool_)
            allowed[static] = False
            queries = queries.with_allowed(allowed)
        return queries.with_exclude(self._own(queries)) if self.column else queries

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        kept: Mask = ~np.isin(found.item, self._static())
        if self.column:
            kept &= ~ops.contains(self._own(queries), found.query, found.item)
        return kept

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        everybody = Reason("taken off for everybody")
        own = Reason("on the list {column} of this person", {"column": self.column})
        return [everybody if out else own for out in np.isin(found.item, self._static())]

    @cached_property
    def _static(self) -> Derived[Rows]:
        return Derived(self.catalog, self._blocked)

    def _blocked(self) -> Rows:
        rows = self.catalog.rows("item", self.items)
        return rows[rows >= 0]

    def _own(self, queries: Queries) -> Ragged:
        lists = self._lists(queries)
        ptr = np.concatenate(([0], np.cumsum([len(ids) for ids in lists], dtype=np.int64)))
        rows = self.catalog.rows("item", [id for ids in lists for id in ids])
        return Ragged(ptr, {"item": rows}).where(rows >= 0)

    def _lists(self, queries: Queries) -> list[tuple[str, ...]]:
        if self.column in queries.columns:
            return _checked(self.column, queries.columns[self.column])
        lists: list[tuple[str, ...]] = [()] * len(queries)
        known = np.flatnonzero((queries.user >= 0) & (queries.user < self.catalog.size("user")))
        if len(known) and self.column in self.catalog.names("user"):
            column = self.catalog.read("user", queries.user[known], [self.column])[self.column]
            for b, ids in zip(known.tolist(), _checked(self.column, column), strict=True):
                lists[b] = ids
        return lists


def _checked(name: str, column: Column) -> list[tuple[str, ...]]:
    if len(column) and kind_of(column) != "list":
        raise ConfigError(
            f"user column {name!r} is a {kind_of(column)}, not a list of item ids", where="filters.blocked: column"
        )
    found: list[tuple[str, ...]] = column.tolist()
    return found
