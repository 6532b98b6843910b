"""How much of what a person liked lately has what the candidate has: their genres, brands, sellers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from shortlist.derived import Derived, all_rows, kind_of, values_of
from shortlist.errors import ConfigError
from shortlist.features.wording import number
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Ragged, Reason, Rows, Scores


@dataclass(frozen=True)
class Affinity:
    """Columns `affinity.NAME`, float32 in [0, 1]: the share of the person's newest liked items that have a value of the
    candidate, the mean over its values. NaN for a candidate without a value and a person without likings."""

    catalog: Catalog
    names: tuple[str, ...]  # text or list columns of the items
    last: int = 50  # liked items

    def __post_init__(self) -> None:
        if self.last < 1 or not self.names:
            raise ConfigError(f"names is {list(self.names)}, last {self.last}", where="features.affinity")

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        liked = queries.history.where(queries.history["weight"] > 0).last(self.last)
        return {
            f"affinity.{name}": _share(values, liked.owner, liked["item"], liked.length, found)
            for name, values in self._values().items()
        }

    def update(self, events: Events) -> None:
        """The history arrives with the query, and the catalogue is read again when it has changed."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, fact = name.partition(".")
        if group != "affinity" or fact not in self.names:
            return None
        none = f"nothing is known of what you like by {fact}"
        return number(100 * value, f"{{value}} % of what you liked lately has this {fact}", none)

    @cached_property
    def _values(self) -> Derived[dict[str, Ragged]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> dict[str, Ragged]:
        facts = self.catalog.read("item", all_rows(self.catalog), self.names)
        for name, fact in facts.items():
            if len(fact) and kind_of(fact) not in ("text", "list"):
                raise ConfigError(
                    f"column {name!r} of the items is a {kind_of(fact)}, not a text or a list",
                    where="features.affinity: names",
                )
        return {name: values_of(facts[name]) for name in self.names}


def _share(values: Ragged, owner: Rows, item: Rows, likings: np.ndarray, found: Candidates) -> Scores:
    """(N,) for likings (owner, item), of which each query has `likings` (B,)."""
    own = _of(values, item)
    seen, count = np.unique(_pairs(owner[own.owner], own["code"]), return_counts=True)
    theirs = _of(values, found.item)
    wanted = _pairs(found.query[theirs.owner], theirs["code"])
    at = np.minimum(np.searchsorted(seen, wanted), max(len(seen) - 1, 0))
    held = np.where(seen[at] == wanted, count[at], 0) if len(seen) else np.zeros(len(wanted))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.bincount(theirs.owner, held, len(found)) / theirs.length / likings[found.query]
    column: Scores = share.astype(np.float32)
    return column


def _of(values: Ragged, item: Rows) -> Ragged:
    """The values of each item (N,); none for rows that the catalogue has not."""
    known = (item >= 0) & (item < len(values))
    lists = (
        values.take(np.where(known, item, 0))
        if len(values)
        else Ragged(np.zeros(len(item) + 1, np.int64), {"code": np.empty(0, np.int32)})
    )
    return lists if known.all() else lists.where(known[lists.owner])


def _pairs(owner: Rows, code: Rows) -> np.ndarray:
    return (owner.astype(np.int64) << 32) | code.astype(np.int64)
