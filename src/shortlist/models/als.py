"""Implicit ALS: vectors of people and items whose product tells liked from unknown pairs.

Hu, Koren, Volinsky 2008, with the loss and the frequency-scaled regularisation of Rendle et al., RecSys 2022:
the sum over likings of w (x·y - 1)², plus a · the sum over all pairs of (x·y)², plus reg · the sum over vectors of
(w + a · n)^exponent |x|²; w is the weight of a vector's likings, n the number of its partners, a the weight of a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ShapeError
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors

LANES = 16  # the kernels want vectors padded with zeros to a multiple of this


@dataclass(frozen=True, slots=True)
class Als:
    """The factor model for any size: seconds to fit, a person's vector is solved from the history in the request.

    The defaults led on the validation part of MovieLens-1M, leave-last.
    """

    factors: int = 128
    reg: float = 0.003
    unobserved: float = 10.0  # weight of all pairs together, in that of all likings: fits sparse and dense data alike
    exponent: float = 1.0  # of the frequency in the regularisation; reg keeps its total when this changes
    iterations: int = 10
    steps: int = 3  # of conjugate gradients in each half of an iteration
    deviation: float = 0.1  # length of the random vectors at the start
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> AlsModel:
        chance = np.random.default_rng(seed)
        matrix = data.matrix
        likings = (rows_of(matrix), rows_of(matrix.T.tocsr()))
        weight = [np.asarray(matrix.sum(axis=1 - side), np.float64) for side in (0, 1)]
        users, items = (int(np.count_nonzero(each)) for each in weight)
        pair = self.unobserved * float(weight[0].sum()) / max(users * items, 1)
        frequency = [weight[0] + pair * items, weight[1] + pair * users]
        total = sum(float((each**self.exponent).sum()) for each in frequency)
        reg = self.reg * sum(float(each.sum()) for each in frequency) / max(total, 1e-12)
        vectors = [padded(chance, size, self.factors, self.deviation) for size in matrix.shape]
        for _ in range(self.iterations):
            for side in (0, 1):
                rows, other = likings[side], vectors[1 - side]
                _kernels.least_squares(
                    vectors[side],
                    other,
                    rows.ptr,
                    rows["item"],
                    rows["score"],
                    rows["score"],
                    _gram(other, pair),
                    _reg(reg, frequency[side], self.exponent),
                    self.steps,
                )
        item = vectors[1]
        return AlsModel(item, _gram(item, pair), pair * items, reg, self.exponent, self.half_life)


@dataclass(frozen=True, slots=True)
class AlsModel:
    """Vectors of items; a person's vector is the exact minimum of the training objective for the history at hand."""

    item: Vectors  # (I, D), a row of zeros for an item that nobody liked
    gram: Vectors  # (D, D) weight of a pair * item' item
    pairs: float  # weight of all pairs of a person
    reg: float
    exponent: float
    half_life: float

    def __post_init__(self) -> None:
        if self.gram.shape != (self.item.shape[1],) * 2:
            raise ShapeError(f"AlsModel: gram is {self.gram.shape}, vectors have {self.item.shape[1]} columns")

    def recall(self, queries: Queries, k: int) -> Candidates:
        user = self._user(queries)
        found = ops.top_of_product(user, self.item, k, queries.exclude, queries.allowed)
        return found.take(found.columns["score"] != 0)  # 0: a row of zeros, an item that nobody liked

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return _kernels.products(self._user(queries), self.item, found.query, found.item)

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """Each liking's part of the score: w y_h' A⁻¹ y, where A is the system that the person's vector solves."""
        liked = self._liked(queries)
        wanted = ops.pointers(found.query, len(queries))
        system = (self.item, liked.ptr, liked["item"], liked["weight"], self.gram, self._reg(liked))
        return ops.gather(liked["item"], _kernels.strongest_of_squares(*system, wanted, found.item), -1)

    def _user(self, queries: Queries) -> Vectors:
        return queries.once(self, "user", lambda: self._solved(self._liked(queries)))

    def fold_in(self, history: Ragged) -> Vectors:
        """(B, D) vectors of the people with these histories; zeros where nothing known is liked."""
        return self._solved(ops.liked(history, self.half_life, len(self.item)))

    def _liked(self, queries: Queries) -> Ragged:
        return queries.once(self, "liked", lambda: ops.liked(queries.history, self.half_life, len(self.item)))

    def _solved(self, liked: Ragged) -> Vectors:
        user = np.zeros((len(liked), self.item.shape[1]), np.float32)
        weight = liked["weight"]
        _kernels.least_squares(
            user, self.item, liked.ptr, liked["item"], weight, weight, self.gram, self._reg(liked), steps=0
        )
        return user

    def _reg(self, liked: Ragged) -> NDArray[np.float32]:
        said: NDArray[np.float64] = np.bincount(liked.owner, liked["weight"], len(liked)).astype(np.float64)
        return _reg(self.reg, said + self.pairs, self.exponent)


def padded(chance: np.random.Generator, count: int, factors: int, deviation: float, room: int = 0) -> Vectors:
    """(count, D) random vectors of about the length `deviation`; zeros from column `factors` on, at least `room`."""
    vectors = np.zeros((count, -(-(factors + room) // LANES) * LANES), np.float32)
    vectors[:, :factors] = chance.normal(0, deviation / factors**0.5, (count, factors))
    return vectors


def _gram(vectors: Vectors, pair: float) -> Vectors:
    return np.float32(pair) * _kernels.gram(vectors)


def _reg(reg: float, frequency: NDArray[np.float64], exponent: float) -> NDArray[np.float32]:
    return (reg * frequency**exponent).astype(np.float32)
