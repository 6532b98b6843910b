"""Searches for parameters as one HTML page: verdict, lines to paste, history, what mattered, all settings."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from shortlist.eval.page import note, page, section, table
from shortlist.eval.result import number
from shortlist.eval.search import Searched, Tried, shown

_WIDTH, _HEIGHT, _LEFT, _RIGHT = 860, 260, 70, 20  # of the history, and what is left of and right of it
_LABEL, _BAR, _STEP = 200, 460, 26  # of the importance: width of the names and the bars, height of a row


def html(searches: Sequence[Searched], title: str = "Search for parameters") -> str:
    """A self-contained page, a part for each search."""
    return page(title, "".join(_part(each) for each in searches))


def _part(search: Searched) -> str:
    about = (
        f"{search.caveat()} What fell behind on a part of the {search.resource} was given up early (successive "
        f"halving). Ended: {search.ended}."
    )
    paste = f"<pre>{escape(search.toml)}</pre>" if search.toml else "<p>Nothing to change.</p>"
    return (
        f"<h2>{escape(search.name)}</h2><p>{escape(search.verdict())}</p>{note(about)}"
        f"{section('For shortlist.toml', paste, 3)}{section('History', _history(search), 3)}"
        f"{section('What mattered', _importance(search), 3)}{section('Parameters', table(search.params()), 3)}"
        f"{section('All settings', table(_settings(search)), 3)}"
    )


def _history(search: Searched) -> str:
    """A dot per setting in the order tried, full when it had all of the resource; the line is the best so far."""
    points = list(search.so_far())
    values = [each.value for each, _ in points]
    low, high = min(values), max(values)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - 60

    def x(count: int) -> float:
        return round(_LEFT + width * count / max(1, len(search.tried) - 1), 1)

    def y(value: float) -> float:
        return round(20 + height * (1 - (value - low) / ((high - low) or 1)), 1)

    line = f"M{x(points[0][0].number)} {y(points[0][1])}"
    line += "".join(f"H{x(each.number)}V{y(best)}" for each, best in points[1:])
    dots = "".join(_dot(each, x(each.number), y(each.value), search) for each, _ in points)
    ticks = "".join(
        f'<text class="note" x="{_LEFT - 10}" y="{y(value) + 4}" text-anchor="end">{number(value)}</text>'
        for value in sorted({low, high})
    )
    told = f"{search.metric} of {len(points)} settings, from {number(low)} to {number(high)}; {search.verdict()}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(told)}</title>'
        f'<path class="same line" d="{line}"/>{dots}{ticks}'
        f'<text class="note" x="{_LEFT}" y="{_HEIGHT - 8}">{escape(search.metric)} of each setting in the order tried '
        "(first: as configured); hollow: given up early; line: best so far</text></svg>"
    )


def _dot(each: Tried, x: float, y: float, search: Searched) -> str:
    kind = "better" if each is search.best else "same"
    hollow = ' class="hollow"' if each.state == "early" else ""
    told = ", ".join(f"{name} {shown(value)}" for name, value in each.params.items())
    return (
        f'<g class="{kind}"><circle{hollow} cx="{x}" cy="{y}" r="{6 if kind == "better" else 4}">'
        f"<title>{each.number + 1}: {number(each.value)}, {escape(told)}</title></circle></g>"
    )


def _importance(search: Searched) -> str:
    """A bar per parameter, labelled with its share."""
    if not search.importance:
        return "<p>Too few settings to tell.</p>"
    rows = list(search.importance.items())
    widest = max(share for _, share in rows) or 1
    bars = "".join(
        f'<text x="{_LABEL - 12}" y="{_STEP * place + 22}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="better" x="{_LABEL}" y="{_STEP * place + 10}" height="14" '
        f'width="{round(_BAR * share / widest, 1)}"/>'
        f'<text x="{_LABEL + round(_BAR * share / widest, 1) + 10}" y="{_STEP * place + 22}">{share:.0%}</text>'
        for place, (name, share) in enumerate(rows)
    )
    told = "; ".join(f"{name} {share:.0%}" for name, share in rows)
    bottom = _STEP * len(rows) + 30
    return (
        f'<svg viewBox="0 0 {_WIDTH} {bottom}" role="img"><title>{escape(told)}</title>{bars}'
        f'<text class="note" x="{_LABEL}" y="{bottom - 4}">share of what tells the best quarter of '
        f"{len(search.tried)} settings from the others (PED-ANOVA)</text></svg>"
    )


def _settings(search: Searched) -> list[list[str]]:
    """Header, then a line per setting, the best first."""
    states = {"whole": "all", "failed": "failed"}
    order = sorted(search.tried, key=lambda each: (-each.share, -each.value if each.share else 0.0))
    lines = [
        [
            str(each.number + 1),
            number(each.value),
            states.get(each.state, f"{each.share:.0%}"),
            f"{each.seconds:.1f}",
            *(shown(each.params[name]) for name in search.grid),
            each.note,
        ]
        for each in order
    ]
    return [["setting", search.metric, f"share of the {search.resource}", "seconds", *search.grid, ""], *lines]
