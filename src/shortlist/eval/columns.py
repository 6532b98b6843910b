"""What columns of candidates hold: how many rows have a value, how many an unknown one, and how far they have moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist.types import Column, Columns

BINS = 10
MOVED = 0.2  # drift from which on a column is said to have moved (Siddiqi, Credit Risk Scorecards, 2006)
NO_VALUE, UNKNOWN = 0, 1  # codes
LEAST = 1e-4  # share that a bin is granted


@dataclass(frozen=True, slots=True)
class Described:
    """One column; a wide one by all of its places, and by that which has drifted most."""

    name: str
    kind: str  # number | category | list
    covered: float  # share of the rows that have a value
    null: float  # share of those that have none
    unknown: float | None  # share of the values that no vocabulary knows; None for numbers
    low: float | None  # 5 % of the numbers are below; None without any
    middle: float | None
    high: float | None  # 5 % are above
    drift: float  # population stability index between the two tables; from `MOVED` on it has moved


def describe(before: Columns, now: Columns) -> list[Described]:
    """The columns of `now`, by name, beside those of `before`."""
    return [_described(name, before.get(name, column[:0]), column) for name, column in sorted(now.items())]


def drift(before: Column, now: Column) -> float:
    """Population stability index: sum of (q - p) log(q / p) over deciles of the numbers of `before`, or over codes.

    No value is a bin of its own; of vectors (N, d) the largest of the d; 0 when either has no row.
    """
    if not (before.size and now.size):
        return 0.0
    if now.dtype.kind in "fb" and now.ndim > 1:
        return max(drift(*pair) for pair in zip(before.T, now.T, strict=True))
    if now.dtype.kind in "fb":
        known = before[np.isfinite(before)].astype(np.float64)
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1])) if known.size else np.empty(0)
        bins = len(edges) + 2
        share = [_shares(_binned(each, edges), bins) for each in (before, now)]
    else:
        often = np.unique(before, return_counts=True)
        codes = np.sort(often[0][np.argsort(-often[1], kind="stable")[: 2 * BINS]])
        share = [_shares(_coded(each, codes), len(codes) + 1) for each in (before, now)]
    return float(np.sum((share[1] - share[0]) * np.log(share[1] / share[0])))


def table(described: Sequence[Described]) -> list[tuple[str, ...]]:
    """Header and lines for people."""
    header = ("column", "kind", "covered", "null", "unknown", "5 %", "median", "95 %", "drift")
    return [header, *(_line(each) for each in described)]


def as_json(described: Sequence[Described]) -> list[Mapping[str, object]]:
    """The same for programs."""
    return [{name: getattr(each, name) for name in Described.__slots__} for each in described]


def _line(each: Described) -> tuple[str, ...]:
    unknown = "" if each.unknown is None else f"{each.unknown:.1%}"
    numbers = ("" if value is None else f"{value:.4g}" for value in (each.low, each.middle, each.high))
    return (
        each.name,
        each.kind,
        f"{each.covered:.1%}",
        f"{each.null:.1%}",
        unknown,
        *numbers,
        f"{each.drift:.2f}{_mark(each.drift)}",
    )


def _mark(drift: float) -> str:
    return " moved" if drift >= MOVED else ""


def _described(name: str, before: Column, now: Column) -> Described:
    moved = drift(before, now)
    if now.dtype.kind in "fb":
        known = np.isfinite(now)
        low, middle, high = _spread(now[known])
        there = _anywhere(known)
        return Described(name, "number", _share(there), _share(~there), None, low, middle, high, moved)
    known = now > NO_VALUE
    kind = "category" if now.ndim == 1 else "list"
    covered = _anywhere(known)
    unknown = _share(now[known] == UNKNOWN)
    return Described(name, kind, _share(covered), _share(~covered), unknown, None, None, None, moved)


def _anywhere(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) rows with at least one value."""
    covered: NDArray[np.bool_] = np.logical_or.reduce(known.reshape(len(known), -1), axis=1)
    return covered


def _spread(numbers: Column) -> tuple[float | None, float | None, float | None]:
    if not len(numbers):
        return None, None, None
    low, middle, high = np.quantile(numbers.astype(np.float64), (0.05, 0.5, 0.95))
    return float(low), float(middle), float(high)


def _share(mask: NDArray[np.bool_]) -> float:
    return float(mask.mean()) if mask.size else 0.0


def _binned(column: Column, edges: NDArray[np.float64]) -> NDArray[np.intp]:
    place = np.searchsorted(edges, column.astype(np.float64), side="right")
    return np.where(np.isfinite(column), place, len(edges) + 1).ravel()


def _coded(column: Column, codes: Column) -> NDArray[np.intp]:
    place = np.minimum(np.searchsorted(codes, column), len(codes) - 1)
    return np.where(codes[place] == column, place, len(codes)).ravel()


def _shares(place: NDArray[np.intp], bins: int) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.maximum(np.bincount(place, minlength=bins) / len(place), LEAST)
    return share
