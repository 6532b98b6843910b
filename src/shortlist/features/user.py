"""Slow facts of the person who asks, as the catalogue has them now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import DAY
from shortlist.derived import kind_of
from shortlist.errors import ConfigError
from shortlist.features.wording import number
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason


@dataclass(frozen=True, slots=True)
class UserColumns:
    """Columns `user.NAME` of float32, the same for all candidates of a query: numbers, flags (0, 1), and of a time the
    days since then. NaN where there is no value, and for people whom nobody knows."""

    catalog: Catalog
    names: tuple[str, ...]

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        there = (queries.user >= 0) & (queries.user < self.catalog.size("user"))
        facts = self.catalog.read("user", queries.user[there], self.names)
        made = {}
        for name, fact in facts.items():
            kind = kind_of(fact)
            if kind in ("text", "list"):
                raise ConfigError(
                    f"column {name!r} of the users is a {kind}, not a number, a flag or a time",
                    where="features.user: names",
                    hint="texts and lists are in features.codes",
                )
            whole = np.full(len(queries), np.nan)
            if kind == "time":
                whole[there] = np.where(fact == -1, np.nan, (queries.time[there] - fact) / DAY)
            elif kind:
                whole[there] = np.where(fact < 0, np.nan, fact) if kind == "flag" else fact
            made[f"user.{name}"] = whole.astype(np.float32)[found.query]
        return made

    def update(self, events: Events) -> None:
        """Facts are read with every query."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, fact = name.partition(".")
        if group != "user" or fact not in self.names:
            return None
        kind = kind_of(self.catalog.read("user", np.zeros(0, np.int32), [fact])[fact])
        some = f"your {fact} was {{value}} days ago" if kind == "time" else f"your {fact} is {{value}}"
        return number(value, some, f"your {fact} is not known")
