"""Predicted probabilities as lines for people, as plain data, and as one HTML page with reliability plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan
from typing import Any, TypeAlias

from shortlist.eval.bootstrap import Interval
from shortlist.eval.ctr import MEASURES, Reliability
from shortlist.eval.page import note, page, section, table
from shortlist.eval.result import number, span

_SIDE, _LEFT, _TOP = 320, 70, 16  # of the plot, in units of the drawing

Measured: TypeAlias = Mapping[tuple[str, str], Interval]


def lines(systems: Sequence[str], found: Measured) -> list[list[str]]:
    """Header, then a line per system: each measure with its 95 % interval."""
    return [["pipeline", *MEASURES], *([name, *(span(found[name, each]) for each in MEASURES)] for name in systems)]


def as_json(systems: Sequence[str], found: Measured, reliable: Mapping[str, Reliability]) -> dict[str, Any]:
    """The same for programs, with the points of the reliability plots; what is not a number is null."""

    def plain(each: Interval) -> dict[str, Any]:
        return {key: None if isnan(value) else value for key, value in each._asdict().items()}

    return {
        name: {
            **{measure: plain(found[name, measure]) for measure in MEASURES},
            "reliability": [
                {"said": said, "came": came, "rows": rows}
                for said, came, rows in zip(*(each.tolist() for each in reliable[name]), strict=True)
            ],
        }
        for name in systems
    }


def html(title: str, about: str, systems: Sequence[str], found: Measured, reliable: Mapping[str, Reliability]) -> str:
    """A self-contained page."""
    plots = "".join(section(name, plot(name, reliable[name]), 3) for name in systems)
    told = (
        "Each dot is a twentieth of the impressions, by rising probability: what was said, and what share was taken. "
        "On the dashed line they are equal; the calibration error is the mean distance from it."
    )
    return page(title, f"{note(about)}{section('Figures', table(lines(systems, found)))}{note(told)}{plots}")


def plot(name: str, reliable: Reliability) -> str:
    """What was said and what came, as SVG."""
    top = max([1e-6, *reliable.said.tolist(), *reliable.came.tolist()])

    def place(said: float, came: float) -> tuple[float, float]:
        return round(_LEFT + _SIDE * said / top, 1), round(_TOP + _SIDE * (1 - came / top), 1)

    points = [place(said, came) for said, came in zip(reliable.said.tolist(), reliable.came.tolist(), strict=True)]
    told = "; ".join(f"said {said:.4f}, came {came:.4f}" for said, came in zip(*reliable[:2], strict=True))
    (left, bottom), (right, high) = place(0, 0), place(top, top)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="4"/>' for x, y in points)
    way = " ".join(f"{x},{y}" for x, y in points)
    return (
        f'<svg viewBox="0 0 {_LEFT + _SIDE + 200} {_TOP + _SIDE + 50}" role="img">'
        f"<title>{escape(name)}: {escape(told)}</title>"
        f'<line class="zero" x1="{left}" y1="{bottom}" x2="{right}" y2="{high}"/>'
        f'<g class="better" stroke-width="2"><polyline class="line" points="{way}"/>{dots}</g>'
        f'<text class="note" x="{left}" y="{bottom + 20}">0</text>'
        f'<text class="note" x="{right}" y="{bottom + 20}" text-anchor="end">{top:.3g} said</text>'
        f'<text class="note" x="{_LEFT - 8}" y="{high + 4}" text-anchor="end">{top:.3g}</text>'
        f'<text class="note" x="{right + 12}" y="{high + 4}">came</text>'
        f'<text x="{left}" y="{bottom + 42}">calibration error {number(reliable.error)}</text></svg>'
    )
