"""Intervals by bootstrap over people (Efron 1979): the same resamples for every column, so differences are paired."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)

_BLOCK = 1 << 22  # resampled people held at once


class Interval(NamedTuple):
    """A mean with its 95 % interval, over `n` people. All NaN when nobody has a value."""

    value: float
    low: float
    high: float
    n: int

    @property
    def sign(self) -> int:
        """1 when the whole interval lies above zero, -1 below, 0 otherwise."""
        return int(self.low > 0) - int(self.high < 0)


def intervals(
    values: Mapping[Key, NDArray[np.float64]], *, resamples: int = 1000, seed: int = 0
) -> dict[Key, Interval]:
    """For each column (B,) of `values`: its mean and the 95 % percentile interval of its mean. NaN is left out."""
    columns = {name: column for name, column in values.items() if not np.isnan(column).all()}
    out = dict.fromkeys(values, Interval(np.nan, np.nan, np.nan, 0))
    if not columns:
        return out
    matrix = np.stack(list(columns.values()), axis=1).astype(np.float64)  # (B, M)
    known = ~np.isnan(matrix)
    filled = np.where(known, matrix, 0)
    count, mean = known.sum(axis=0), filled.sum(axis=0) / known.sum(axis=0)
    complete = bool(known.all())
    drawn = []
    with np.errstate(invalid="ignore"):  # a resample may hold nobody with a value: NaN, left out below
        for times in _resamples(len(matrix), resamples, seed):
            drawn.append((times @ filled) / (len(matrix) if complete else times @ known.astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(drawn), [0.025, 0.975], axis=0)
    for m, name in enumerate(columns):
        out[name] = Interval(float(mean[m]), float(low[m]), float(high[m]), int(count[m]))
    return out


def _resamples(people: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks (R', B) of how often each person is drawn, with replacement."""
    rng = np.random.default_rng(seed)
    step = max(1, _BLOCK // people)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, people, (rows, people)) + np.arange(rows)[:, None] * people
        yield np.bincount(drawn.ravel(), minlength=rows * people).reshape(rows, people).astype(np.float64)
