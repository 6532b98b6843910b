"""Logistic regression: the log-odds are a sum over the columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ConfigError
from shortlist.rank import labels
from shortlist.rank.layout import Layout
from shortlist.types import Candidates, Part, Queries, Scores


@dataclass(frozen=True, slots=True)
class Logistic:
    """The ranker that is learned in seconds and whose every part can be read off; serves as an array of weights.

    Categories count as one-hot columns of the codes that were seen, lists as the shares of theirs, numbers scaled.
    Minimises the log-loss plus l2 / 2 · ‖weights‖² by L-BFGS (Byrd, Lu, Nocedal, Zhu 1995), the intercept left free.
    """

    columns: tuple[str, ...] = ()  # in this order; empty = all there are, by name
    l2: float = 1.0
    least: int = 1  # times a code must occur to have a weight of its own
    positive: float = 1.0  # how often a row labelled 1 counts; scores are corrected for it
    kept: float = 1.0  # share of the rows labelled 0 that are in the table; scores are corrected for it
    iterations: int = 200

    def __post_init__(self) -> None:
        if self.l2 <= 0 or self.positive <= 0 or not 0 < self.kept <= 1:
            raise ConfigError(
                f"l2 is {self.l2}, positive {self.positive}, kept {self.kept}: all must be above 0, kept at most 1",
                where="rank.logistic",
            )

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> LogisticModel:
        layout = Layout.of(found, self.columns, least=self.least)
        target = labels.checked(found, label)[:, 0].astype(np.float64)
        design = layout.one_hot(found.columns, len(found)).astype(np.float64)
        often = labels.counted(weight, len(found)).astype(np.float64)
        times = np.where(target > 0, 1 + (self.positive - 1) * target, 1.0) * often
        slope, base = _fitted(design, target, times, self.l2, self.iterations)
        return _model(layout, slope, base + labels.shift(self.positive, self.kept))


@dataclass(frozen=True, slots=True)
class LogisticModel:
    """Probability of each row. The sum is made column by column, so that a row gets the same bits in any batch."""

    layout: Layout
    base: float
    code: NDArray[np.float64]  # (T,) by row of the stacked table; 0 for row 0
    number: NDArray[np.float64]  # (P,) by input

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return labels.sigmoid(self._odds(found))

    def shifted(self, by: float) -> LogisticModel:
        return replace(self, base=self.base + by)

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """`base`, then one a column: a number by its scaled value, a code by 1, a list by the mean of its codes.

        The log-odds of a column are paid out in probability, all at the same rate: that of the straight way from the
        base to the sum (Sundararajan, Taly, Yan 2017), so that the parts add up to the score.
        """
        odds, one = self._odds(found), np.ones(len(found), np.float32)
        start = labels.sigmoid(np.full(1, self.base))[0]
        slope = float(start) * (1 - float(start))
        way = odds - self.base
        small = np.abs(way) < 1e-6
        rate = np.where(small, slope, (labels.sigmoid(odds) - start) / np.where(small, 1, way))
        said = [Part("base", one, np.full(len(found), start, np.float32))]
        for name, value, weight in self._terms(found):
            said.append(Part(name, value.astype(np.float32), (weight * rate).astype(np.float32)))
        return said

    def _odds(self, found: Candidates) -> NDArray[np.float64]:
        odds = np.full(len(found), self.base, np.float64)
        for _, value, weight in self._terms(found):
            odds += value * weight
        return odds

    def _terms(self, found: Candidates) -> Iterator[tuple[str, NDArray[Any], NDArray[np.float64]]]:
        """(name, value (N,), weight (N,)) of each addend."""
        encoded, rows = self.layout.encode(found.columns, len(found)), len(found)
        one = np.ones(rows, np.float64)
        for field in self.layout.fields:
            if field.kind == "category":
                yield field.name, one, self.code[encoded.categories[field.name]]
            elif field.kind == "list":
                places = encoded.lists[field.name]
                total = np.zeros(rows, np.float64)
                for place in places.T:
                    total += self.code[place]
                yield field.name, one, total / np.maximum((places > 0).sum(axis=1), 1)
            else:
                numbers = encoded.numbers[field.name]
                for each, name in enumerate(field.names):
                    yield name, numbers[:, each], np.full(rows, self.number[field.at + each])


def _fitted(
    design: Any, target: NDArray[np.float64], times: NDArray[np.float64], l2: float, iterations: int
) -> tuple[NDArray[np.float64], float]:
    from scipy.optimize import minimize

    across = design.T.tocsr()
    size = design.shape[1]

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = design @ point[:size] + point[size]
        value = times @ (np.logaddexp(0, odds) - target * odds) + l2 / 2 * (point[:size] @ point[:size])
        slope = times * (1 / (1 + np.exp(-np.clip(odds, -60, 60))) - target)
        return value, np.append(across @ slope + l2 * point[:size], slope.sum())

    share = np.clip(times @ target / max(times.sum(), 1e-9), 1e-6, 1 - 1e-6)
    start = np.append(np.zeros(size), np.log(share / (1 - share)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 20})
    return found.x[:size], float(found.x[size])


def _model(layout: Layout, weight: NDArray[np.float64], base: float) -> LogisticModel:
    code, number = np.zeros(len(layout.row)), np.zeros(len(layout.centre))
    at = 0
    for field in layout.fields:
        if field.kind == "number":
            number[field.at : field.at + field.inputs] = weight[at : at + field.inputs]
            at += field.inputs
        else:
            level = layout.levels(field)
            code[level] = weight[at : at + len(level)]
            at += len(level)
    return LogisticModel(layout, base, code, number)
