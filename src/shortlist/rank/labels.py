"""What rankers learn from: labels that were checked, queries held out, and probabilities that stay probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ShapeError
from shortlist.types import Candidates, Mask, Scores


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


def sigmoid(score: NDArray[np.floating]) -> Scores:
    """Probabilities of log-odds, each from its own number alone."""
    probability: Scores = (1 / (1 + np.exp(-np.clip(score.astype(np.float64), -60, 60)))).astype(np.float32)
    return probability
