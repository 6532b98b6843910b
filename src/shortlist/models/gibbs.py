"""A chain of Gibbs samples of a factorisation machine whose features belong to a person or to an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from shortlist import _kernels
from shortlist.types import Ragged, Rows, Scores, Vectors

SHAPE, RATE = 1.0, 1.0  # of the gamma priors of precisions, both halved; broad, as in the papers
WEIGHT = 1.0  # of the prior of a group's mean, in features


@dataclass(frozen=True)
class Block:
    """One side of all ratings: what its rows (people, or items) have, and a weight for each such feature.

    Features come in groups; each group has a normal prior of its own for each of K factors and the bias, the last.
    """

    ptr: NDArray[np.int64]  # (F + 1,) for each feature the rows that have it
    row: Rows
    value: Scores
    first: NDArray[np.int64]  # (G,) where each group begins
    group: NDArray[np.int64]  # (F,)
    weight: Vectors  # (K + 1, F)
    total: Vectors  # (K + 1, R) sum of value * weight
    mean: NDArray[np.float64]  # (K + 1, G)
    precision: NDArray[np.float64]  # (K + 1, G)

    @staticmethod
    def of(chance: np.random.Generator, groups: Sequence[csr_array], factors: int, deviation: float) -> Block:
        """A matrix (R, F_g) for each group of features; weights of factors are random at first, those of the bias 0."""
        design = hstack([each.astype(np.float32) for each in groups], format="csc")
        sizes = np.array([each.shape[1] for each in groups if each.shape[1]], np.int64)
        weight = chance.normal(0, deviation, (factors + 1, design.shape[1])).astype(np.float32)
        weight[factors] = 0
        total = np.ascontiguousarray((design @ weight.T).T, np.float32)
        shape = (factors + 1, len(sizes))
        first, group = np.cumsum(sizes) - sizes, np.repeat(np.arange(len(sizes)), sizes)
        ptr, row = design.indptr.astype(np.int64), design.indices.astype(np.int32)
        return Block(ptr, row, design.data, first, group, weight, total, np.zeros(shape), np.ones(shape))

    @property
    def own(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and precision (K + 1,) of the first group's prior: 0 and 1 when no row has any feature."""
        if not len(self.group):
            return np.zeros(len(self.weight)), np.ones(len(self.weight))
        return self.mean[:, 0], self.precision[:, 0]

    def draw_priors(self, chance: np.random.Generator) -> None:
        """Mean and precision of every group, given the weights."""
        count = np.bincount(self.group)
        gap = self.weight - self.mean[:, self.group]
        square = np.add.reduceat(gap * gap, self.first, axis=1) + WEIGHT * self.mean**2
        self.precision[:] = chance.gamma((SHAPE + count + 1) / 2, 2 / (RATE + square))
        centre = np.add.reduceat(self.weight, self.first, axis=1, dtype=np.float64) / (count + WEIGHT)
        self.mean[:] = centre + chance.normal(size=centre.shape) / np.sqrt((count + WEIGHT) * self.precision)

    def draw(
        self, factor: int, residual: Scores, own: Rows, other: Rows, precision: Scores, x: Scores, seed: int
    ) -> None:
        """The weights of one factor, given all else; `residual` and `total` follow."""
        mean, sure = (each[factor, self.group].astype(np.float32) for each in (self.mean, self.precision))
        design = (self.ptr, self.row, self.value)
        _kernels.gibbs_factor(
            residual, own, other, precision, x, *design, self.weight[factor], self.total[factor], mean, sure, seed
        )


class Chain:
    """Weights, priors and noise, each drawn given all others, sweep by sweep; the person's noise is their own. `value`
    (E,) is what is to be predicted of U lists of "item", of about unit variance.

    Errors of one person are normal with the precision `precision` * `steady` of theirs, which is gamma distributed with
    mean 1: all errors together follow a t distribution with `freedom` degrees of freedom (Geweke 1993).
    """

    def __init__(
        self, chance: np.random.Generator, rated: Ragged, value: Scores, people: Block, items: Block, freedom: float
    ) -> None:
        self.chance, self.people, self.items, self.freedom = chance, people, items, freedom
        self.count, self.user, self.item = rated.length, rated.owner, rated["item"]
        self.mean, self.precision = 0.0, 1.0
        self.steady = np.ones(len(rated), np.float64)
        predicted = np.einsum("kn,kn->n", people.total[:-1, self.user], items.total[:-1, self.item])
        self.residual = (value - predicted).astype(np.float32)

    def sweep(self) -> None:
        """Everything once."""
        self._draw_noise()
        self._draw_mean()
        for block in (self.people, self.items):
            block.draw_priors(self.chance)
        sure = (self.precision * self.steady).astype(np.float32)[self.user]
        people, items = self.people, self.items
        for factor in range(len(people.weight)):
            bias = factor == len(people.weight) - 1
            for block, other, own, partner in (
                (people, items, self.user, self.item),
                (items, people, self.item, self.user),
            ):
                x = np.ones(other.total.shape[1], np.float32) if bias else other.total[factor]
                block.draw(factor, self.residual, own, partner, sure, x, int(self.chance.integers(2**63)))

    def _draw_noise(self) -> None:
        square = np.bincount(self.user, self.residual.astype(np.float64) ** 2, len(self.count))
        total = float(square @ self.steady)
        self.precision = float(self.chance.gamma((SHAPE + len(self.residual)) / 2, 2 / (RATE + total)))
        self.steady = self.chance.gamma((self.freedom + self.count) / 2, 2 / (self.freedom + self.precision * square))

    def _draw_mean(self) -> None:
        sure = self.precision * self.steady[self.user]
        total = float(sure.sum()) + RATE
        pull = float(sure @ (self.residual + self.mean))
        before, self.mean = self.mean, pull / total + self.chance.normal() / total**0.5
        self.residual -= np.float32(self.mean - before)
