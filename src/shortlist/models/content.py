"""Items by what they are: genres, types and free text as TF-IDF, brought to few dimensions by a truncated SVD (latent
semantic analysis; Deerwester et al., JASIS 1990). Knows an item from the moment it is in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, ItemVectors, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.terms import TERMED, Facet, facet, reduced, unit
from shortlist.types import Candidates, Columns, Mask, Queries, Ragged, Rows, Scores, Vectors

ALIKE = 1e-3  # a cosine below this is rounding, or chance


@dataclass(frozen=True, slots=True)
class Content:
    """A list value is one term, a text is its words; a term of a column weighs 1 + log(times) times its rarity.

    Of an item each column has the length 1, whatever it says, times its weight.
    """

    catalog: Catalog
    columns: Mapping[str, float] = field(default_factory=dict)  # weight of each; none named: all lists and texts, 1
    factors: int = 64
    least: int = 2  # items that must have a term
    most: int = 20_000  # terms of a column, the most frequent
    half_life: float = 10.0  # of a liking, in liked items; 0 = the order does not matter
    new_only: bool = False  # proposes only what nobody had liked when it was trained, and what came later

    def fit(self, data: Dataset, *, seed: int) -> ContentModel:
        named = dict(self.columns) or {name: 1.0 for name, each in data.items.items() if kind_of(each) in TERMED}
        for name in named:
            kind = kind_of(data.items[name]) if name in data.items else "column that does not exist"
            if kind not in TERMED and data.n_items:
                raise ConfigError(
                    f"column {name!r} of the items is a {kind}, not text or a list",
                    where="models.content: columns",
                    hint="name columns of text or lists, or none for all of them",
                )
        facets = [facet(name, data.items[name], self.least, self.most) for name in sorted(named) if data.n_items]
        facets = [each for each in facets if len(each.term)]
        likes = np.bincount(data.matrix.indices, minlength=data.n_items)
        learned = (likes > 0) if self.new_only else np.empty(0, np.bool_)
        facets = reduced(facets, data.items, [named[each.name] for each in facets], self.factors, seed)
        return ContentModel(self.catalog, tuple(facets), ~learned, self.half_life)


@dataclass(frozen=True)
class ContentModel:
    """Cosine of the mean of what a person likes, the newest most, and of each item of the catalogue as it is now."""

    catalog: Catalog
    facets: tuple[Facet, ...]
    allowed: Mask  # (0,) = everything; (I,) false = left to other sources
    half_life: float

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The k most alike; nothing that has no term in common, by meaning, with what is liked."""
        asked = queries.with_allowed(self.allowed) if len(self.allowed) else queries
        found = ops.top_of_product(self._user(queries), self._vectors(), k, queries.exclude, asked.allowed)
        return found.take(found.columns["score"] >= ALIKE)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        """Cosines; NaN for items that say nothing."""
        vectors = self._vectors()
        said = _kernels.products(self._user(queries), vectors, found.query, found.item)
        said[~np.any(ops.gather(vectors, found.item, 0), axis=1)] = np.nan
        return said

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking with the largest part of the score."""
        vectors, liked = self._vectors(), self._liked(queries)
        near, shown = vectors[liked["item"]], ops.gather(vectors, found.item, 0)
        return ops.nearest_liked(liked, near, found.query, shown, liked["weight"])

    def _user(self, queries: Queries) -> Vectors:
        return queries.once(self, "user", lambda: self._mean(self._liked(queries)))

    def _mean(self, liked: Ragged) -> Vectors:
        return unit(_kernels.sum_of_rows(liked.ptr, liked["item"], liked["weight"], self._vectors()))

    def _liked(self, queries: Queries) -> Ragged:
        return ops.liked(queries.history, self.half_life, len(self._vectors()))

    @cached_property
    def _vectors(self) -> Derived[Vectors]:
        names = [each.name for each in self.facets]
        return Derived(self.catalog, ItemVectors(self.catalog, names, self._width, self._made))

    @property
    def _width(self) -> int:
        return self.facets[0].component.shape[1] if self.facets else 1

    def _made(self, rows: Rows, columns: Columns) -> Vectors:
        """(R, D) of length 1, or 0 for items that say nothing."""
        said = [each.vectors(columns[each.name]) for each in self.facets if each.name in columns]
        return unit(sum(said, np.zeros((len(rows), self._width), np.float32)))
