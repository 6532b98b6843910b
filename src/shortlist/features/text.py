"""What the text of an item is about, as a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, ItemVectors, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.terms import TERMED, Facet, facet, reduced, unit
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason, Rows, Vectors


@dataclass(frozen=True, slots=True)
class TextVectors:
    """Learns from the columns `names` of the items, texts or lists, which words say the same: each column as TF-IDF,
    brought to `factors` numbers by a truncated SVD of its own."""

    catalog: Catalog
    names: tuple[str, ...]
    factors: int = 16
    least: int = 2  # items that must have a term
    most: int = 20_000  # terms of a column, the most frequent

    def __post_init__(self) -> None:
        if not self.names or min(self.factors, self.least, self.most) < 1:
            raise ConfigError(
                f"names is {list(self.names)}, factors {self.factors}, least {self.least}, most {self.most}: at least"
                " one of each",
                where="features.text",
            )

    def fit(self, data: Dataset, *, seed: int) -> TextVectorsModel:
        facets: list[Facet] = []
        for name in self.names:
            kind = kind_of(data.items[name]) if name in data.items else "column that does not exist"
            if kind not in (*TERMED, ""):
                raise ConfigError(
                    f"column {name!r} of the items is a {kind}, not text or a list", where="features.text"
                )
            found = facet(name, data.items[name], self.least, self.most)
            facets += reduced([found], data.items, [1.0], self.factors, seed) if len(found.term) else [found]
        return TextVectorsModel(self.catalog, tuple(facets))


@dataclass(frozen=True)
class TextVectorsModel:
    """Columns `text.NAME` (N, D) of float32, each row of length 1; NaN for an item whose text says nothing known."""

    catalog: Catalog
    facets: tuple[Facet, ...]

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        return {f"text.{name}": ops.gather(vectors(), found.item, np.nan) for name, vectors in self._vectors.items()}

    def update(self, events: Events) -> None:
        """The catalogue is read again when it has changed."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, fact = name.partition(".")
        if group != "text" or fact not in [each.name for each in self.facets]:
            return None
        return Reason(f"what its {fact} is about" if np.isfinite(value).all() else f"its {fact} says nothing known")

    @cached_property
    def _vectors(self) -> dict[str, Derived[Vectors]]:
        made = {}
        for each in self.facets:
            width = max(1, each.component.shape[1])
            of_all = ItemVectors(self.catalog, [each.name], width, partial(_made, each, width))
            made[each.name] = Derived(self.catalog, of_all)
        return made


def _made(facet: Facet, width: int, rows: Rows, columns: Columns) -> Vectors:
    vectors = np.zeros((len(rows), width), np.float32)
    if facet.name in columns and len(facet.term):
        vectors = unit(facet.vectors(columns[facet.name]))
    vectors[~vectors.any(axis=1)] = np.nan
    return vectors
