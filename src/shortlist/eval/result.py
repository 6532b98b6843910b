"""What an evaluation found: rows, a table, a verdict in words, JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from shortlist.eval.bootstrap import Interval
from shortlist.eval.metrics import Values

EVERYONE = "all"


class Row(NamedTuple):
    """One figure of one system: its mean over the people of `segment`, and how it differs from the baseline's."""

    system: str
    segment: str
    metric: str
    value: Interval
    difference: Interval | None  # paired; None for the baseline itself and for figures of all lists together


@dataclass(frozen=True)
class Result:
    """`rows` hold every figure; `values` one number per question, for any further paired comparison."""

    split: str
    part: str
    against: str  # the baseline of every difference
    main: str  # the metric of the verdict
    questions: int
    beside: tuple[str, ...]  # baselines that nobody asked for
    seconds: Mapping[str, float]  # to answer all questions, by system
    values: Mapping[str, Mapping[str, Values]]
    rows: tuple[Row, ...]

    def row(self, system: str, metric: str, segment: str = EVERYONE) -> Row:
        """The one row of that name; KeyError when it was not measured."""
        for row in self.rows:
            if (row.system, row.metric, row.segment) == (system, metric, segment):
                return row
        raise KeyError((system, metric, segment))

    @property
    def segments(self) -> list[str]:
        """Segments in their order, everyone first."""
        return list(dict.fromkeys(row.segment for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """The metrics measured for everyone, in their order."""
        return list(dict.fromkeys(row.metric for row in self.rows if row.segment == EVERYONE))

    @property
    def systems(self) -> list[str]:
        """What was asked for, best first by the main metric, then the baselines."""
        best = sorted(self.seconds, key=lambda name: -self.row(name, self.main).value.value)
        return [name for name in best if name not in self.beside] + [name for name in best if name in self.beside]

    def table(self, metrics: Iterable[str] = (), segment: str = EVERYONE) -> list[list[str]]:
        """Header, then a line per system: each metric's mean, the main metric's interval and difference."""
        shown = [self.main, *(name for name in (metrics or self.metrics) if name != self.main)]
        lines = [["system", shown[0], "95 % interval", f"minus {self.against}", *shown[1:]]]
        for name in self.systems:
            main = self.row(name, self.main, segment)
            difference = "" if main.difference is None else span(main.difference, signed=True)
            rest = [number(self.row(name, metric, segment).value.value) for metric in shown[1:]]
            interval = f"{number(main.value.low)} to {number(main.value.high)}"
            lines.append([name, number(main.value.value), interval, difference, *rest])
        return lines

    def text(self, metrics: Iterable[str] = ()) -> str:
        """The table in aligned columns, then the verdict."""
        lines = self.table(metrics)
        width = [max(len(line[c]) for line in lines) for c in range(len(lines[0]))]
        rows = ["  ".join(cell.ljust(width[c]) for c, cell in enumerate(line)).rstrip() for line in lines]
        return "\n".join([*rows, "", *self.verdict()])

    def verdict(self) -> list[str]:
        """A sentence for each system that was asked for: better, worse or no difference, for whom, how sure."""
        return [self._sentence(name) for name in self.systems if name not in self.beside and name != self.against]

    def _sentence(self, name: str) -> str:
        whole = self.row(name, self.main)
        base = self.row(self.against, self.main).value.value
        assert whole.difference is not None
        sentence = (
            f"{name} {_against(whole.difference, self.against)}: {self.main} {number(whole.value.value)} against "
            f"{number(base)}, difference {span(whole.difference, signed=True)} (95 % interval), "
            f"n = {whole.difference.n:,}."
        )
        parts: dict[int, list[str]] = {}
        for segment in self.segments[1:]:
            difference = self.row(name, self.main, segment).difference
            if difference is not None and difference.n:
                parts.setdefault(difference.sign, []).append(f"{segment} (n = {difference.n:,})")
        words = {1: "Better for", 0: "No difference shown for", -1: "Worse for"}
        return " ".join([sentence, *(f"{words[sign]} {', '.join(parts[sign])}." for sign in words if sign in parts)])

    def as_json(self) -> dict[str, Any]:
        """Plain data; what is not a number is null."""
        return {
            "split": self.split,
            "part": self.part,
            "against": self.against,
            "main": self.main,
            "questions": self.questions,
            "verdict": self.verdict(),
            "seconds": dict(self.seconds),
            "rows": [
                {
                    "system": row.system,
                    "segment": row.segment,
                    "metric": row.metric,
                    "n": row.value.n,
                    "value": _plain(row.value.value),
                    "low": _plain(row.value.low),
                    "high": _plain(row.value.high),
                    "difference": None if row.difference is None else _plain(row.difference.value),
                    "difference_low": None if row.difference is None else _plain(row.difference.low),
                    "difference_high": None if row.difference is None else _plain(row.difference.high),
                }
                for row in self.rows
            ],
        }


def number(value: float, *, signed: bool = False) -> str:
    """Four figures after the point for shares, fewer for larger numbers; "–" when unknown."""
    if math.isnan(value):
        return "–"
    digits = 4 if abs(value) < 1 else 3 if abs(value) < 10 else 1
    return f"{value:{'+' if signed else ''}.{digits}f}"


def span(interval: Interval, *, signed: bool = False) -> str:
    """value (low to high)."""
    value, low, high = (number(each, signed=signed) for each in interval[:3])
    return f"{value} ({low} to {high})"


def _against(difference: Interval, against: str) -> str:
    words = {1: "is better than", 0: "shows no difference to", -1: "is worse than"}
    return f"{words[difference.sign]} {against}"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
