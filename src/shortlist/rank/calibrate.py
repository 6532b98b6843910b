"""Scores as probabilities: what share of rows with such a score was really taken, on queries the ranker never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ConfigError
from shortlist.protocols import Ranker, Scorer
from shortlist.rank import labels
from shortlist.types import Candidates, Queries, Scores

EDGE = 1e-6  # probabilities nearer to 0 or 1 count as that near


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Lets `ranker` learn from most queries, and from the others what its scores mean.

    isotonic: the best rising curve (Zadrozny, Elkan, KDD 2002), straight between the middles of its steps. platt: a
    sigmoid of the score, of its log-odds where scores are probabilities (Platt 1999): two numbers, for few rows.
    """

    ranker: Ranker
    how: Literal["isotonic", "platt"] = "isotonic"
    held: float = 0.2  # share of the queries that it is learned on
    latest: bool = False  # whether those are the last of the table (it is in order of time), or drawn by lot
    kept: float = 1.0  # share of the rows labelled 0 that are in the table; probabilities are corrected for it

    def __post_init__(self) -> None:
        if self.how not in ("isotonic", "platt") or not 0 < self.held < 1 or not 0 < self.kept <= 1:
            raise ConfigError(
                f"how is {self.how!r}, held {self.held}, kept {self.kept}: how must be isotonic or platt, held between"
                " 0 and 1, kept in (0, 1]",
                where="rank.calibrate",
            )

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> CalibratedModel:
        target = labels.checked(found, label)[:, 0]
        away = labels.apart(found.query, self.held, latest=self.latest, seed=seed)
        often = labels.counted(weight, len(found))
        mine = None if weight is None else weight[~away]
        scorer = self.ranker.learn(found.take(~away), target[~away], seed=seed, weight=mine)
        asked = found.take(away)
        people = Queries.of(np.full(int(found.query.max(initial=-1)) + 1, -1, np.int32))
        score = scorer.score(people, asked).astype(np.float64)
        known = ~np.isnan(score)
        score, taken = score[known], target[away][known].astype(np.float64)
        times = np.where(taken > 0, 1.0, 1 / self.kept) * often[away][known].astype(np.float64)
        if self.how == "isotonic":
            at, value = _rising(score, taken, times)
            return CalibratedModel(scorer, at, value, False)
        odds = bool(len(score) and score.min() >= 0 and score.max() <= 1)
        return CalibratedModel(scorer, np.empty(0), _sigmoid(_odds(score) if odds else score, taken, times), odds)


@dataclass(frozen=True, slots=True)
class CalibratedModel:
    """The probability that goes with a score; rows without a score have none."""

    scorer: Scorer
    at: NDArray[np.float64]  # (S,) scores, rising; none = a sigmoid
    value: NDArray[np.float64]  # (S,) the probability at each; slope and shift of the sigmoid
    odds: bool  # whether the sigmoid is of the log-odds of the score

    def score(self, queries: Queries, found: Candidates) -> Scores:
        score = self.scorer.score(queries, found).astype(np.float64)
        if len(self.at):
            return np.interp(score, self.at, self.value).astype(np.float32)
        slope, shift = self.value
        said = labels.sigmoid(slope * (_odds(score) if self.odds else score) + shift)
        return np.where(np.isnan(score), np.float32(np.nan), said)

    def shifted(self, by: float) -> CalibratedModel:
        if len(self.at):
            return replace(self, value=1 / (1 + np.exp(-(_odds(self.value) + by))))
        return replace(self, value=self.value + np.array([0.0, by]))


def _odds(score: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(score, EDGE, 1 - EDGE)
    odds: NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def _rising(
    score: NDArray[np.float64], taken: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middles of the steps of the rising curve that is nearest to `taken`, and their heights.

    At each end one row more says the opposite, so that no step is quite 0 or 1.
    """
    from scipy.optimize import isotonic_regression

    if not len(score):
        return np.array([0.0, 1.0]), np.array([0.0, 1.0])
    point, where = np.unique(score, return_inverse=True)
    weight, height = np.bincount(where, times), np.bincount(where, times * taken)
    weight[0] += 1
    height[0] += 1
    weight[-1] += 1
    step = isotonic_regression(height / weight, weights=weight)
    begin = step.blocks[:-1].astype(np.intp)
    middle = np.add.reduceat(point * weight, begin) / np.add.reduceat(weight, begin)
    return middle, step.x[begin]


def _sigmoid(score: NDArray[np.float64], taken: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope and shift of the sigmoid under which `taken` is likeliest, after Platt with one row more of each kind."""
    from scipy.optimize import minimize

    if not len(score):
        return np.array([1.0, 0.0])
    middle, spread = score.mean(), score.std() or 1.0
    scaled = (score - middle) / spread
    ones, all_ = times @ taken, times.sum()
    target = np.where(taken > 0, (ones + 1) / (ones + 2), 1 / (all_ - ones + 2))

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = point[0] * scaled + point[1]
        error = times * (labels.sigmoid(odds) - target)
        return float(times @ (np.logaddexp(0, odds) - target * odds)), np.array([error @ scaled, error.sum()])

    slope, shift = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B").x
    return np.array([slope / spread, shift - slope * middle / spread])
