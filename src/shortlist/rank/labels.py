"""What rankers learn from: labels that were checked, queries held out, and probabilities that stay probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ShapeError
from shortlist.types import Candidates, Mask, Scores

EDGE = 1e-7  # probabilities nearer to 0 or 1 count as that near
FARTHEST = 40.0  # shift of log-odds


def checked(found: Candidates, label: Scores, tasks: int = 1) -> Scores:
    """`label` as (N, tasks); NaN = unknown. ShapeError unless it has a row for each of `found` and lies in [0, 1]."""
    table = np.asarray(label, np.float32)
    table = table[:, None] if table.ndim == 1 else table
    if table.shape != (len(found), tasks):
        raise ShapeError(
            f"labels are {label.shape}, expected ({len(found)},)" + (f" or ({len(found)}, {tasks})" * (tasks > 1))
        )
    if np.any((table < 0) | (table > 1)):
        raise ShapeError(f"labels run from {np.nanmin(table)} to {np.nanmax(table)}, but must be in [0, 1]")
    return table


def apart(query: NDArray[np.integer], share: float, *, latest: bool, seed: int) -> Mask:
    """(N,) true for the rows of `share` of the queries, whole ones: the last of the table, or drawn by lot."""
    names = np.unique(query)
    count = min(math.ceil(len(names) * share), len(names) - 1) if len(names) else 0
    if count <= 0:
        return np.zeros(len(query), np.bool_)
    drawn = names[-count:] if latest else np.random.default_rng(seed).choice(names, count, replace=False)
    return np.isin(query, drawn)


def shift(positive: float, kept: float) -> float:
    """What is to be added to the log-odds that were learned with rows labelled 1 counted `positive` times and `kept`
    of the rows labelled 0, so that they are those of the whole (King and Zeng, 2001)."""
    return math.log(kept) - math.log(positive)


def counted(weight: Scores | None, rows: int) -> Scores:
    """(N,) how often each row counts: `weight`, which has a mean of 1 afterwards; None = once. ShapeError."""
    if weight is None:
        return np.ones(rows, np.float32)
    if weight.shape != (rows,) or not np.all(np.isfinite(weight) & (weight >= 0)) or (rows and not weight.any()):
        raise ShapeError(f"weights are {weight.shape}, expected ({rows},) numbers of at least 0, not all of them 0")
    mean = weight.mean(dtype=np.float64) if rows else 1.0
    return (weight / mean).astype(np.float32)


def agreement(score: Scores, label: Scores, weight: Scores) -> float:
    """What to add to the log-odds of the probabilities `score` (N,) so that their weighted sum is that of `label`, as
    far as 40; rows without a score do not count (calibration in the large: Steyerberg 2009, 15.3)."""
    from scipy.optimize import brentq

    known = ~np.isnan(score)
    inside = np.clip(score[known].astype(np.float64), EDGE, 1 - EDGE)
    odds, times = np.log(inside / (1 - inside)), weight[known].astype(np.float64)
    taken = float(times @ label[known])

    def excess(by: float) -> float:
        return float(times @ (1 / (1 + np.exp(-np.clip(odds + by, -60, 60))))) - taken

    if excess(-FARTHEST) >= 0 or excess(FARTHEST) <= 0:  # nothing was taken, or everything
        return 0.0
    return float(brentq(excess, -FARTHEST, FARTHEST, xtol=1e-9))


def sigmoid(score: NDArray[np.floating]) -> Scores:
    """Probabilities of log-odds, each from its own number alone."""
    probability: Scores = (1 / (1 + np.exp(-np.clip(score.astype(np.float64), -60, 60)))).astype(np.float32)
    return probability
