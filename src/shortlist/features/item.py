"""Slow facts of the items, as the catalog has them now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shortlist import ops
from shortlist.derived import Derived, all_rows, kind_of
from shortlist.errors import ConfigError
from shortlist.features.wording import number
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason


@dataclass(frozen=True)
class ItemColumns:
    """Columns `item.NAME` of float32 for number and flag columns (0, 1); NaN where there is no value."""

    catalog: Catalog
    names: tuple[str, ...]

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        return {f"item.{name}": ops.gather(fact, found.item, np.nan) for name, fact in self._facts().items()}

    def update(self, events: Events) -> None:
        """The catalog is read again when it has changed."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, fact = name.partition(".")
        if group != "item" or fact not in self.names:
            return None
        return number(value, f"its {fact} is {{value}}", f"no {fact} is known")

    @cached_property
    def _facts(self) -> Derived[Columns]:
        return Derived(self.catalog, self._read)

    def _read(self) -> Columns:
        facts = self.catalog.read("item", all_rows(self.catalog), self.names)
        for name, fact in facts.items():
            if kind_of(fact) not in ("number", "flag"):
                raise ConfigError(
                    f"column {name!r} of the items is a {kind_of(fact) or 'text'}, not a number or a flag",
                    where="features.item: names",
                    hint="the age of a time column is in features.recency",
                )
        return {
            name: np.where(fact < 0, np.nan, fact).astype(np.float32)
            if kind_of(fact) == "flag"
            else fact.astype(np.float32)
            for name, fact in facts.items()
        }
