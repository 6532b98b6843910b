"""Items by what they are: genres, types and free text as TF-IDF, brought to few dimensions by a truncated SVD (latent
semantic analysis; Deerwester et al., JASIS 1990). Knows an item from the moment it is in the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, ItemVectors, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Mask, Queries, Ragged, Rows, Scores, Vectors

LONGEST = 48  # characters of a term that count
ALIKE = 1e-3  # a cosine below this is rounding, or chance
_WORD = re.compile(r"\w+")


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
        facets = [_facet(name, data.items[name], self.least, self.most) for name in sorted(named) if data.n_items]
        facets = [each for each in facets if len(each.term)]
        likes = np.bincount(data.matrix.indices, minlength=data.n_items)
        learned = (likes > 0) if self.new_only else np.empty(0, np.bool_)
        facets = _reduced(facets, data.items, [named[each.name] for each in facets], self.factors, seed)
        return ContentModel(self.catalog, tuple(facets), ~learned, self.half_life)


TERMED = ("text", "list")


@dataclass(frozen=True, slots=True)
class Facet:
    """What a column's terms mean."""

    name: str
    term: NDArray[np.str_]  # (T,)
    rarity: Scores  # (T,)
    component: Vectors  # (T, D)

    def weighed(self, column: Column) -> Ragged:
        """The known terms of each value ("item": place in `term`, "weight"), of length 1 together."""
        place = {term: at for at, term in enumerate(self.term.tolist())}
        row, term = _said(column)
        return _weighed(row, np.array([place.get(each, -1) for each in term], np.int32), self.rarity, len(column))

    def vectors(self, column: Column) -> Vectors:
        """(R, D) the components of each value's terms, added up by weight."""
        terms = self.weighed(column)
        return _kernels.sum_of_rows(terms.ptr, terms["item"], terms["weight"], self.component, 1)


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
        return _unit(_kernels.sum_of_rows(liked.ptr, liked["item"], liked["weight"], self._vectors()))

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
        return _unit(sum(said, np.zeros((len(rows), self._width), np.float32)))


def _facet(name: str, column: Column, least: int, most: int) -> Facet:
    """The terms of a column that enough items have, with their rarity; without components."""
    row, said = _said(column)
    term, code = np.unique(said, return_inverse=True)
    order, begins = ops.grouped(row, code.astype(np.int32))
    having = np.bincount(code[order[begins]], minlength=len(term))
    often = np.argsort(-having, kind="stable")[:most]
    kept = np.sort(often[having[often] >= least])
    rarity = np.log((1 + len(column)) / (1 + having[kept])) + 1
    return Facet(name, term[kept], rarity.astype(np.float32), np.empty((len(kept), 0), np.float32))


def _reduced(facets: list[Facet], items: Columns, weights: list[float], factors: int, seed: int) -> list[Facet]:
    """The facets with the leading right singular vectors of all items' terms as components, times their weights."""
    from scipy.sparse import csr_array, hstack
    from scipy.sparse.linalg import svds

    blocks: list[Any] = []
    for each, weight in zip(facets, weights, strict=True):
        terms = each.weighed(items[each.name])
        shape = (len(terms), len(each.term))
        blocks.append(csr_array((terms["weight"] * np.float32(weight), terms["item"], terms.ptr), shape=shape))
    if not blocks:
        return []
    matrix = hstack(blocks, format="csr")
    if factors < min(matrix.shape):
        start = np.random.default_rng(seed).standard_normal(min(matrix.shape)).astype(matrix.dtype)
        component = svds(matrix, factors, v0=start)[2]
    else:
        component = np.linalg.svd(matrix.toarray(), full_matrices=False)[2]
    stops = np.cumsum([len(each.term) for each in facets])[:-1]
    parts = np.split(component.T.astype(np.float32), stops)
    return [
        replace(each, component=np.ascontiguousarray(part) * np.float32(weight))
        for each, part, weight in zip(facets, parts, weights, strict=True)
    ]


def _said(column: Column) -> tuple[Rows, NDArray[np.str_]]:
    """Every term of every value as (row, term): the values of a list as they are, the words of a text; in small
    letters."""
    row: list[int] = []
    said: list[str] = []
    for at, value in enumerate(column.tolist()):
        terms = _WORD.findall(value.casefold()) if isinstance(value, str) else [each.casefold() for each in value]
        row += [at] * len(terms)
        said += [each[:LONGEST] for each in terms]
    return np.array(row, np.int32), np.array(said, np.str_)


def _weighed(row: Rows, code: Rows, rarity: Scores, rows: int) -> Ragged:
    """The terms (row, code) of `rows` values, each once, by 1 + log(times) times rarity, of length 1 together."""
    row, code = row[code >= 0], code[code >= 0]
    order, begins = ops.grouped(row, code)
    first = np.flatnonzero(begins)
    times = np.diff(np.append(first, len(order)))
    row, code = row[order[first]], code[order[first]]
    weight = (1 + np.log(times)) * rarity[code]
    length = np.sqrt(np.bincount(row, weight**2, rows))
    return Ragged(ops.pointers(row, rows), {"item": code, "weight": (weight / length[row]).astype(np.float32)})


def _unit(vectors: Vectors) -> Vectors:
    """Each of length 1; zeros stay, and what is as good as zero becomes it."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)
    return unit
