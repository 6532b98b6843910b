"""What predicted probabilities are worth: order (AUC, GAUC), likelihood (log-loss), truth (calibration).

Shapes: N rows, G groups of them (people), S systems, R resamples. Every function takes O(N log N) and is pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ShapeError
from shortlist.eval.bootstrap import Interval

Numbers: TypeAlias = NDArray[np.floating]
Floats: TypeAlias = NDArray[np.float64]
EDGE = 1e-7  # probabilities nearer to 0 or 1 count as that near in the log-loss
BINS = 20
MEASURES = ("auc", "gauc", "log-loss", "calibration-error")


class Reliability(NamedTuple):
    """Rows brought together by rising probability in bins of equally many: what was said and what came."""

    said: Floats  # (bins,) mean probability
    came: Floats  # (bins,) share labelled 1
    rows: NDArray[np.int64]  # (bins,)

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance, over rows (Naeini, Cooper, Hauskrecht, AAAI 2015)."""
        return float(np.abs(self.said - self.came) @ self.rows / max(1, self.rows.sum()))


def auc(score: Numbers, label: Numbers, times: Numbers | None = None) -> float:
    """The chance that a row labelled 1 scores above one labelled 0, ties counted half; NaN without both.

    `times` (N,) says how often each row counts.
    """
    _check(score, label)
    return _Order.of(score, label).auc(np.ones(len(score)) if times is None else np.asarray(times, np.float64))


def auc_by_group(score: Numbers, label: Numbers, group: NDArray[np.integer]) -> tuple[Floats, NDArray[np.int64]]:
    """(G,) the AUC of each different `group`, in rising order, NaN without both labels; (G,) its rows."""
    _check(score, label)
    _, group = np.unique(group, return_inverse=True)
    order = np.lexsort((score, group))
    own, said, taken = group[order], score[order], label[order].astype(np.float64)
    tie = _runs(own, said)
    size = np.bincount(tie)
    begin = np.cumsum(size) - size
    rows = np.bincount(own)
    first = np.cumsum(rows) - rows
    rank = (begin + (size + 1) / 2)[tie] - first[own]  # the mean of the ranks of equal scores
    ones = np.bincount(own, taken)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (np.bincount(own, rank * taken) - ones * (ones + 1) / 2) / (ones * (rows - ones))
    return value, rows


def gauc(score: Numbers, label: Numbers, group: NDArray[np.integer]) -> float:
    """The mean of the groups' AUCs by their rows (Zhou et al., KDD 2018); groups without both labels do not count."""
    value, rows = auc_by_group(score, label, group)
    known = ~np.isnan(value)
    return float(value[known] @ rows[known] / rows[known].sum()) if known.any() else float("nan")


def log_losses(probability: Numbers, label: Numbers) -> Floats:
    """(N,) of each row, in nats."""
    _check(probability, label)
    inside = np.clip(probability.astype(np.float64), EDGE, 1 - EDGE)
    return np.asarray(-label * np.log(inside) - (1 - label) * np.log1p(-inside))


def log_loss(probability: Numbers, label: Numbers) -> float:
    """The mean over the rows."""
    return float(log_losses(probability, label).mean())


def reliability(probability: Numbers, label: Numbers, bins: int = BINS) -> Reliability:
    """What was said and what came, in `bins` bins of equally many rows (as nearly as can be; equal probabilities may be
    parted, in the order of the rows)."""
    _check(probability, label)
    order = np.argsort(probability, kind="stable")
    bins = max(1, min(bins, len(order)))
    place = np.arange(len(order)) * bins // max(1, len(order))
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        said = np.bincount(place, probability[order].astype(np.float64), bins) / count
        came = np.bincount(place, label[order].astype(np.float64), bins) / count
    return Reliability(said, came, count.astype(np.int64))


def measured(
    probability: Mapping[str, Numbers],
    label: Numbers,
    group: NDArray[np.integer],
    *,
    resamples: int = 300,
    seed: int = 0,
) -> dict[tuple[str, str], Interval]:
    """For each system and measure of `MEASURES` the value with its 95 % interval, by bootstrap over groups.

    Every system gets the same resamples; ("a - b", measure) is the difference of the first system to each other one.
    """
    names = list(probability)
    drawn: dict[tuple[str, str], Floats] = {}
    value: dict[tuple[str, str], float] = {}
    code = np.unique(group, return_inverse=True)[1]
    groups = int(code.max(initial=-1)) + 1
    for name in names:
        for measure, (whole, some) in _resampled(probability[name], label, code, groups, resamples, seed).items():
            value[name, measure], drawn[name, measure] = whole, some
    for other in names[1:]:
        for measure in MEASURES:
            key = (f"{names[0]} - {other}", measure)
            value[key] = value[names[0], measure] - value[other, measure]
            drawn[key] = drawn[names[0], measure] - drawn[other, measure]
    out = {}
    for each, some in drawn.items():
        known = some[~np.isnan(some)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        out[each] = Interval(value[each], float(low), float(high), groups)
    return out


def _resampled(
    probability: Numbers, label: Numbers, code: NDArray[np.integer], groups: int, resamples: int, seed: int
) -> dict[str, tuple[float, Floats]]:
    """Of each measure its value, and its values (R,) on groups drawn with replacement."""
    order = _Order.of(probability, label)
    own, rows = auc_by_group(probability, label, code)
    known = ~np.isnan(own)
    lost = np.bincount(code, log_losses(probability, label), groups)
    place = np.empty(len(code), np.int64)
    place[np.argsort(probability, kind="stable")] = np.arange(len(code)) * BINS // max(1, len(code))
    gap = probability.astype(np.float64) - label

    def values(times: Floats) -> tuple[float, ...]:
        mine = times[code]
        off = np.abs(np.bincount(place, gap * mine, BINS)).sum()
        both = times[known] * rows[known]
        inside = float(both @ own[known] / both.sum()) if both.sum() else np.nan
        return order.auc(mine), inside, float(times @ lost / (times @ rows)), float(off / (times @ rows))

    whole = values(np.ones(groups))
    chance = np.random.default_rng(seed)
    some = [values(_drawn(chance, groups)) for _ in range(resamples)]
    table = np.array(some, np.float64).reshape(resamples, len(MEASURES))
    return {name: (whole[at], table[:, at]) for at, name in enumerate(MEASURES)}


def _drawn(chance: np.random.Generator, groups: int) -> Floats:
    """(G,) how often each group is drawn."""
    return np.bincount(chance.integers(0, groups, groups), minlength=groups).astype(np.float64)


class _Order(NamedTuple):
    """Rows by rising score, once and for all."""

    order: NDArray[np.intp]
    tie: NDArray[np.int64]  # (N,) the number of the run of equal scores, in that order
    taken: Floats  # (N,) labels, in that order

    @staticmethod
    def of(score: Numbers, label: Numbers) -> _Order:
        order = np.argsort(score, kind="stable")
        return _Order(order, _runs(score[order]), label[order].astype(np.float64))

    def auc(self, times: Floats) -> float:
        mine = times[self.order]
        ones, zeros = (np.bincount(self.tie, mine * each) for each in (self.taken, 1 - self.taken))
        pairs = ones.sum() * zeros.sum()
        return float(ones @ (np.cumsum(zeros) - zeros / 2) / pairs) if pairs else float("nan")


def _runs(*columns: NDArray[np.generic]) -> NDArray[np.int64]:
    """(N,) 0 for the first run of rows that are equal in all columns, 1 for the next ..."""
    new = np.zeros(len(columns[0]), np.bool_)
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return np.cumsum(new)


def _check(score: Numbers, label: Numbers) -> None:
    if score.shape != label.shape or score.ndim != 1:
        raise ShapeError(f"scores are {score.shape}, labels {label.shape}: both must be (N,)")
    if np.isnan(score).any() or np.any((label != 0) & (label != 1)):
        raise ShapeError("scores must be numbers, and labels 0 or 1")
