"""Not too much of one kind on a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shortlist import ops
from shortlist.derived import Derived, all_rows, kind_of, values_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Positions, Queries, Ragged, Reason, Rows


@dataclass(frozen=True)
class Caps:
    """The k best with at most `cap` of each value of a text or list column; an item of several values counts in each.

    Where the rule leaves places empty they are refilled in score order without it: a full page is worth more than the
    rule. Rows without a score come last and are not counted.
    """

    catalog: Catalog
    column: str
    cap: int = 2

    def __post_init__(self) -> None:
        if self.cap < 1:
            raise ConfigError(f"cap is {self.cap}, but must be at least 1", where="rerank.caps")

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        ranked = ops.topk(found.query, found.columns["score"], len(found), len(queries))
        kept = self._kept(queries, found, ranked, k)
        return ops.followed_by(kept, ranked, found.query, k, len(queries))

    def moved(self, queries: Queries, found: Candidates, k: int, row: int) -> Reason | None:
        """The values of which there were enough when the row's turn came."""
        ranked = ops.topk(found.query, found.columns["score"], len(found), 1)
        kept = self._kept(queries, found, ranked, k)
        above = np.intersect1d(ranked[: np.flatnonzero(ranked == row)[0]], kept)
        if row in kept or not len(above) or np.isnan(found.columns["score"][row]):
            return None
        value = self.catalog.read("item", found.item[[row]], [self.column])[self.column][0]
        named = [each for each in dict.fromkeys((value,) if isinstance(value, str) else value) if each]
        mine = self._of(found.item[[row]])["code"]
        count = ops.gather(np.bincount(self._of(found.item[above])["code"]), mine, 0)
        full = tuple(name for name, many in zip(named, count.tolist(), strict=True) if many >= self.cap)
        facts = {"cap": self.cap, "column": self.column, "values": full}
        return Reason("{cap} with {column} {values} stand above it, which is all there may be", facts) if full else None

    def _kept(self, queries: Queries, found: Candidates, ranked: Positions, k: int) -> Positions:
        scored = ranked[~np.isnan(found.columns["score"][ranked])]
        groups = self._of(found.item[scored])
        return scored[ops.cap_per_group(found.query[scored], groups, k, self.cap, len(queries))]

    def _of(self, item: Rows) -> Ragged:
        """The groups of each item, none for an item that the catalog does not know."""
        groups = self._groups()
        known = (item >= 0) & (item < len(groups) - 1)
        return groups.take(np.where(known, item, len(groups) - 1))

    @cached_property
    def _groups(self) -> Derived[Ragged]:
        return Derived(self.catalog, self._read)

    def _read(self) -> Ragged:
        column = self.catalog.read("item", all_rows(self.catalog), [self.column])[self.column]
        if kind_of(column) not in ("text", "list", ""):
            raise ConfigError(
                f"column {self.column!r} of the items is a {kind_of(column)}",
                where="rerank.caps: column",
                hint="name a text or list column",
            )
        groups = values_of(column)
        return Ragged(np.append(groups.ptr, groups.ptr[-1]), groups.columns)  # one empty list for unknown items
