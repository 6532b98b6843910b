"""Only items whose facts fulfil a condition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shortlist import ops
from shortlist.derived import Derived, all_rows
from shortlist.filters.expression import Expression, parse
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Mask, Queries, Reason


@dataclass(frozen=True)
class Attribute:
    """Keeps items for which `where` holds: "year >= 1990 and 'Drama' in genres". See filters/expression.py."""

    catalog: Catalog
    where: str

    def __post_init__(self) -> None:
        self.expression  # noqa: B018 a mistake in `where` is reported here, not at the first request

    def narrow(self, queries: Queries) -> Queries:
        return queries.with_allowed(self._mask())

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        kept: Mask = ops.gather(self._mask(), found.item, False)
        return kept

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        """What the item has in the columns that the condition names."""
        named = [name for name in self.expression.names if name in self.catalog.names("item")]
        values = self.catalog.read("item", found.item, named)
        text = "not true of it: {condition}" + "".join(f"; {name} is {{item.{name}}}" for name in named)
        return [
            Reason(text, {"condition": self.where, **{f"item.{name}": values[name][row] for name in named}})
            for row in range(len(found))
        ]

    @cached_property
    def expression(self) -> Expression:
        return parse(self.where)

    @cached_property
    def _mask(self) -> Derived[Mask]:
        return Derived(self.catalog, self._evaluate)

    def _evaluate(self) -> Mask:
        rows = all_rows(self.catalog)
        return self.expression.over(self.catalog, "item", rows) if len(rows) else np.empty(0, np.bool_)
