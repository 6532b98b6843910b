"""Texts and lists as TF-IDF, brought to few dimensions by a truncated SVD (latent semantic analysis; Deerwester et al.,
JASIS 1990)."""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.types import Column, Columns, Ragged, Rows, Scores, Vectors

TERMED = ("text", "list")  # kinds of columns that have terms
LONGEST = 48  # characters of a term that count
_WORD = re.compile(r"\w+")


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
        row, code, term = _said(column)
        known = np.array([place.get(each, -1) for each in term.tolist()], np.int32)
        return _weighed(row, known[code], self.rarity, len(column))

    def vectors(self, column: Column) -> Vectors:
        """(R, D) the components of each value's terms, added up by weight."""
        terms = self.weighed(column)
        return _kernels.sum_of_rows(terms.ptr, terms["item"], terms["weight"], self.component, 1)


def facet(name: str, column: Column, least: int, most: int) -> Facet:
    """The terms of a column that enough items have, with their rarity; without components."""
    row, code, term = _said(column)
    order, begins = ops.grouped(row, code)
    having = np.bincount(code[order[begins]], minlength=len(term))
    often = np.argsort(-having, kind="stable")[:most]
    kept = np.sort(often[having[often] >= least])
    rarity = np.log((1 + len(column)) / (1 + having[kept])) + 1
    return Facet(name, term[kept], rarity.astype(np.float32), np.empty((len(kept), 0), np.float32))


def reduced(facets: Sequence[Facet], items: Columns, weights: Sequence[float], factors: int, seed: int) -> list[Facet]:
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


def _said(column: Column) -> tuple[Rows, Rows, NDArray[np.str_]]:
    """Every term of every value as (row, place in the third), and the different terms (T,), rising: the values of a
    list as they are, the words of a text; in small letters. 8 bytes for each time that a term is said."""
    row, said, place = array("i"), array("i"), dict[str, int]()
    for at, value in enumerate(column.tolist()):
        terms = _WORD.findall(value.casefold()) if isinstance(value, str) else [each.casefold() for each in value]
        row.extend([at] * len(terms))
        said.extend(place.setdefault(each[:LONGEST], len(place)) for each in terms)
    term = np.array(list(place), np.str_)
    order = np.argsort(term)
    rank = np.empty(len(term), np.int32)
    rank[order] = np.arange(len(term))
    return np.array(row, np.int32), rank[np.array(said, np.int32)], term[order]


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


def unit(vectors: Vectors) -> Vectors:
    """Each of length 1; zeros stay, and what is as good as zero becomes it."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), 0).astype(np.float32)
    return unit
