"""Turbo-CF: a polynomial low-pass filter of the item-item graph, nothing trained (Park, Shin, Shin, SIGIR 2024).

P = R̃'R̃ with R̃ = D_U^-alpha R D_I^-(1-alpha), each entry raised to `power`; then P, or 2P - P², or
P + 0.01 (-P³ + 10P² - 29P). The latter two are made for eigenvalues of at most 1, so P is scaled to that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.dense import DenseItems
from shortlist.models.sparse import SparseItems
from shortlist.types import Ragged, Vectors


@dataclass(frozen=True, slots=True)
class TurboCf:
    """Order 1 fits any catalogue in seconds: 8 bytes · neighbours · items, time in the sum over people of their squared
    number of likings. Orders 2 and 3 are dense: 12 S² bytes and (order - 1) S³ operations for S items, up to about
    20,000.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    alpha: float = 0.3  # how much of the normalisation is by people, the rest by items
    power: float = 1.0  # of each entry of P; smaller: weak ties count nearly as much as strong ones
    order: int = 1  # of the polynomial: 1, 2 or 3
    neighbours: int = 200  # kept for each item by order 1
    most: int = 20_000  # items that take part in orders 2 and 3, the most liked
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> SparseItems | DenseItems:
        if self.order not in (1, 2, 3) or self.neighbours < 1 or self.most < 1 or not self.power > 0:
            raise ConfigError(
                f"order is {self.order}, neighbours {self.neighbours}, most {self.most}, power {self.power}: order must"
                " be 1, 2 or 3, the others greater than 0",
                where="models.turbocf",
            )
        return self._linear(data) if self.order == 1 else self._polynomial(data)

    def _linear(self, data: Dataset) -> SparseItems:
        matrix = _normalised(data.matrix, self.alpha)
        user, item = rows_of(matrix), rows_of(matrix.T.tocsr())
        one = np.ones(data.n_items, np.float32)
        row, column, score = _kernels.neighbours(
            item.ptr,
            item["item"],
            item["score"],
            user.ptr,
            user["item"],
            user["score"],
            one,
            one,
            0.0,
            self.neighbours,
        )
        columns = {"item": column, "score": score ** np.float32(self.power)}
        return SparseItems(Ragged(ops.pointers(row, data.n_items), columns), self.half_life)

    def _polynomial(self, data: Dataset) -> DenseItems:
        item = dense.most_liked(data.matrix, self.most)
        first = dense.gram(_normalised(data.matrix[:, item], self.alpha)) ** np.float32(self.power)
        dense.mirror(first)
        first /= _largest_eigenvalue(first)
        second = first @ first
        if self.order == 2:
            weight = 2 * first - second
        else:
            weight = np.float32(0.71) * first + np.float32(0.1) * second - np.float32(0.01) * (second @ first)
        return DenseItems.of(weight, item, data.n_items, self.half_life)


def _largest_eigenvalue(matrix: Vectors, rounds: int = 30) -> np.float32:
    """Of a symmetric matrix (S, S) without negative entries, by power iteration."""
    vector = np.ones(len(matrix), np.float32)
    length = np.float32(1)
    for _ in range(rounds):
        vector = matrix @ (vector / length)
        length = np.linalg.norm(vector)
    return length


def _normalised(matrix: csr_array, alpha: float) -> csr_array:
    """R̃: likings divided by their person's to the power of alpha, and by their item's to that of 1 - alpha."""
    user, item = (np.asarray(matrix.sum(axis=axis)) for axis in (1, 0))
    scale = np.repeat(user, np.diff(matrix.indptr)) ** alpha * item[matrix.indices] ** (1 - alpha)
    return csr_array(((matrix.data / scale).astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
