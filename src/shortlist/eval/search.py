"""What a search for parameters found: every setting that was tried, the best of them, and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shortlist.eval.bootstrap import Interval
from shortlist.eval.result import number, span


@dataclass(frozen=True)
class Tried:
    """One setting. The first of a search is what is configured."""

    number: int  # from 0
    params: Mapping[str, Any]
    state: Literal["whole", "early", "failed"]  # early = given up before it had all of the resource
    value: float  # of the metric at the last rung that it reached; NaN when it failed
    share: float  # of the resource that it got
    seconds: float
    note: str = ""  # why it failed


@dataclass(frozen=True)
class Searched:
    """A search of one model or pipeline so far. `tried` is never empty and begins with a whole one."""

    name: str  # train.models.als, pipelines.home
    metric: str
    split: str
    people: int  # validation questions asked of a whole setting
    resource: str  # what grows from rung to rung
    grid: Mapping[str, Sequence[Any]]  # the values of each parameter
    tried: tuple[Tried, ...]
    importance: Mapping[str, float]  # shares, the largest first; empty when too little was tried to tell
    difference: Interval  # of the best to what is configured, paired by person; zero when that is the best
    toml: str  # to paste; empty when what is configured is the best
    ended: str  # why it tries no more

    @property
    def configured(self) -> Tried:
        return self.tried[0]

    @property
    def best(self) -> Tried:
        """The whole setting with the highest value, of equals the first."""
        return max((each for each in self.tried if each.state == "whole"), key=lambda each: each.value)

    def verdict(self) -> str:
        """Better, worse or no difference, how sure, and how much was tried for it."""
        few = sum(each.state == "early" for each in self.tried)
        broken = sum(each.state == "failed" for each in self.tried)
        effort = [f"{len(self.tried)} settings tried", f"{few} given up early", f"{broken} failed" if broken else ""]
        counted = ", ".join(filter(None, effort))
        if self.best is self.configured:
            kept = f"nothing was better than what is configured, {self.metric} {number(self.best.value)}"
            return f"{self.name}: {kept}, n = {self.people:,}; {counted}."
        words = {1: "better than", 0: "no different, as far as can be told, from", -1: "worse than"}
        return (
            f"{self.name}: the best is {words[self.difference.sign]} what is configured: {self.metric} "
            f"{number(self.best.value)} against {number(self.configured.value)}, difference "
            f"{span(self.difference, signed=True)} (95 % interval), n = {self.people:,}; {counted}."
        )

    def caveat(self) -> str:
        """What the figures are not."""
        return (
            f"Chosen and compared on the validation part of the {self.split} split, which flatters the best of many; "
            "the test part was not read: shortlist evaluate asks it."
        )

    def params(self) -> list[list[str]]:
        """Header, then a line per parameter, the most important first: configured, best, share of importance."""
        names = sorted(self.grid, key=lambda name: -self.importance.get(name, 0.0))
        rows = [[name, *(shown(each.params[name]) for each in (self.configured, self.best))] for name in names]
        shares = [f"{self.importance[name]:.0%}" if name in self.importance else "–" for name in names]
        tried = [", ".join(map(shown, self.grid[name])) for name in names]
        lines = [[*row, share, values] for row, share, values in zip(rows, shares, tried, strict=True)]
        return [["parameter", "configured", "best", "importance", "values tried"], *lines]

    def so_far(self) -> Iterator[tuple[Tried, float]]:
        """Every setting that did not fail, with the best whole value up to then."""
        best = -math.inf
        for each in self.tried:
            if each.state == "whole":
                best = max(best, each.value)
            if each.state != "failed":
                yield each, best

    def as_json(self) -> dict[str, Any]:
        """Plain data; what is not a number is null."""
        return {
            "name": self.name,
            "metric": self.metric,
            "split": self.split,
            "part": "valid",
            "people": self.people,
            "resource": self.resource,
            "ended": self.ended,
            "verdict": self.verdict(),
            "grid": {name: list(values) for name, values in self.grid.items()},
            "configured": _as_json(self.configured),
            "best": _as_json(self.best),
            "difference": self.difference._asdict(),
            "importance": dict(self.importance),
            "toml": self.toml,
            "tried": [_as_json(each) for each in self.tried],
        }


def shown(value: Any) -> str:
    """A value of a parameter; an empty text is seen."""
    return repr(value) if value == "" else str(value)


def _as_json(each: Tried) -> dict[str, Any]:
    return {
        "number": each.number,
        "params": dict(each.params),
        "state": each.state,
        "value": None if math.isnan(each.value) else each.value,
        "share": each.share,
        "seconds": round(each.seconds, 3),
        "note": each.note,
    }
