"""A dense item-item matrix as a model, and the linear algebra of the recipes that learn one.

For S items that take part it holds 4 S² bytes (1.6 GB at 20,000) and a query costs S operations for each liking.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.dataset import rows_of
from shortlist.errors import ConfigError, ShapeError
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors

BLOCK = 512  # rows of the item-item matrix worked on at a time


@dataclass(frozen=True, slots=True)
class DenseItems:
    """Adds up the rows of what a person likes."""

    weight: Vectors  # (S, S) row: liked item, column: predicted item, both by their place in `item`
    item: Rows  # (S,) the items that take part, ascending
    place: Rows  # (I,) where each item is in `item`, -1 = it takes no part
    half_life: float

    def __post_init__(self) -> None:
        size = len(self.item)
        if self.weight.shape != (size, size) or self.place.max(initial=-1) >= size or self.item.min(initial=0) < 0:
            raise ShapeError(f"DenseItems: weight is {self.weight.shape} for {size} items and their places")

    @staticmethod
    def of(weight: Vectors, item: Rows, items: int, half_life: float) -> DenseItems:
        """The model of `weight` (S, S) over the rows `item` (S,) of a catalogue of `items`."""
        place = np.full(items, -1, np.int32)
        place[item] = np.arange(len(item), dtype=np.int32)
        return DenseItems(weight, item, place, half_life)

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The k best of all items that take part, for every query with a history; a score may be negative."""
        allowed = ops.gather(queries.allowed, self.item, True) if len(queries.allowed) else queries.allowed
        found = ops.top_of_matrix(self._predict(queries), k, self._placed(queries.exclude), allowed)
        return Candidates(found.query, self.item[found.item], found.columns)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return _kernels.entries(self._predict(queries), found.query, ops.gather(self.place, found.item, -1))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        liked, column = self._liked(queries), ops.gather(self.place, found.item, -1)
        wanted = ops.pointers(found.query, len(queries))
        entry = _kernels.strongest_of_rows(liked.ptr, liked["item"], liked["weight"], self.weight, wanted, column)
        return ops.gather(self.item, ops.gather(liked["item"], entry, -1), -1)

    def _predict(self, queries: Queries) -> Scores:
        """(B, S) what the model says of every item; NaN for who likes nothing known."""
        return queries.once(self, "predict", lambda: self._said(self._liked(queries)))

    def _said(self, liked: Ragged) -> Scores:
        said = _kernels.sum_of_rows(liked.ptr, liked["item"], liked["weight"], self.weight)
        said[liked.length == 0] = np.nan
        return said

    def _liked(self, queries: Queries) -> Ragged:
        return queries.once(
            self, "liked", lambda: ops.liked(self._placed(queries.history), self.half_life, len(self.item))
        )

    def _placed(self, lists: Ragged) -> Ragged:
        """The lists with places instead of item rows; of other columns "weight", which is what counts here."""
        weight = {"weight": lists["weight"]} if "weight" in lists.columns else {}
        return Ragged(lists.ptr, {**weight, "item": ops.gather(self.place, lists["item"], -1)})


def most_liked(matrix: csr_array, most: int) -> Rows:
    """(S,) ascending: the columns that somebody liked, at most the `most` that most people liked."""
    likes = np.bincount(matrix.indices, minlength=matrix.shape[1])
    often = np.argsort(-likes, kind="stable")[: min(most, np.count_nonzero(likes))]
    return np.sort(often).astype(np.int32)


def gram(matrix: csr_array) -> Vectors:
    """The upper triangle of X'X as a dense (S, S) float32 matrix, zeros below."""
    by_user, by_item = rows_of(matrix), rows_of(matrix.T.tocsr())
    return _kernels.upper_product(
        by_item.ptr,
        by_item["item"],
        by_item["score"],
        by_user.ptr,
        by_user["item"],
        by_user["score"],
        matrix.shape[1],
    )


def mirror(matrix: Vectors) -> None:
    """Fill the lower triangle from the upper, in place."""
    for start in range(0, len(matrix), BLOCK):
        stop = start + BLOCK
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        corner = matrix[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T


def invert(matrix: Vectors, where: str) -> None:
    """Replace a symmetric positive definite matrix, given by its upper triangle, by its inverse: LAPACK's Cholesky, in
    place, in float32. `where` names the recipe in the error that says it cannot be done."""
    if not len(matrix):
        return
    column_major = matrix.T  # the same memory, the upper triangle being its lower
    factor, failed = spotrf(column_major, lower=True, overwrite_a=True)
    if not failed:
        _, failed = spotri(factor, lower=True, overwrite_c=True)
    if failed:
        raise ConfigError("the item-item matrix cannot be inverted", where=where, hint="give a larger reg")
    mirror(matrix)  # LAPACK fills one triangle


def regress(matrix: Vectors, ridge: Scores | float, where: str) -> None:
    """Replace X'X, given by its upper triangle, by the ridge regression of every item (column) on all others (rows).

    `ridge` is one number or one for each item (S,); the diagonal becomes 0.
    """
    matrix[np.diag_indices_from(matrix)] += ridge
    invert(matrix, where)
    matrix /= -matrix.diagonal()
    np.fill_diagonal(matrix, 0)
