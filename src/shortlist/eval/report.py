"""An evaluation as one HTML page: verdict, forest plot of paired differences, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from shortlist.eval import ratings
from shortlist.eval.bootstrap import Interval
from shortlist.eval.page import note, page, section, table
from shortlist.eval.result import EVERYONE, Result, Row, number, span

_CLASS = {1: "better", 0: "same", -1: "worse"}
_LEFT, _PLOT, _WIDTH, _STEP = 300, 330, 860, 28  # where the plot begins, its width, all of it, height of a row


def html(result: Result, title: str = "Evaluation", errors: Mapping[str, Mapping[str, Interval]] | None = None) -> str:
    """A self-contained page. `errors`: see eval.ratings."""
    asked = [name for name in result.systems if name != result.against]
    plots = [section(f"Difference to {result.against}, everyone", _forest(result, asked, [EVERYONE]))]
    plots += [
        section(f"{name}: difference to {result.against}, by segment", _forest(result, [name], result.segments))
        for name in asked
        if name not in result.beside
    ]
    verdict = "".join(f"<p>{escape(sentence)}</p>" for sentence in result.verdict())
    about = (
        f"Split {result.split}, part {result.part}, n = {result.questions:,} questions. All items are ranked, those "
        "the person already had left out. Intervals: 95 %, paired bootstrap over people."
    )
    figures = section("All figures", table(result.table()))
    predicted = section("Errors of predicted ratings", table(ratings.table(errors))) if errors else ""
    return page(title, f"{verdict}{note(about)}{''.join(plots)}{figures}{predicted}")


def _forest(result: Result, systems: Sequence[str], segments: Sequence[str]) -> str:
    """Dot and whisker per difference in the main metric, labelled with its figures and n; colour is never alone."""
    rows = [result.row(name, result.main, segment) for name in systems for segment in segments]
    drawn = [(row, row.difference) for row in rows if row.difference is not None and row.difference.n]
    if not drawn:
        return "<p>No differences to show.</p>"
    low = min(0.0, *(each.low for _, each in drawn))
    high = max(0.0, *(each.high for _, each in drawn))
    scale = _PLOT / ((high - low) or 1)

    def x(value: float) -> float:
        return round(_LEFT + (value - low) * scale, 1)

    lines = [_whisker(_label(row, segments), each, x, 20 + _STEP * place) for place, (row, each) in enumerate(drawn)]
    bottom = 20 + _STEP * len(drawn)
    told = "; ".join(f"{_label(row, segments)} {span(each, signed=True)}, n = {each.n:,}" for row, each in drawn)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {bottom + 34}" role="img"><title>{escape(told)}</title>'
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="4" y2="{bottom}"/>{"".join(lines)}'
        f'<text class="note" x="{x(0)}" y="{bottom + 14}" text-anchor="middle">0</text>'
        f'<text class="note" x="{_LEFT}" y="{bottom + 30}">difference in {escape(result.main)}, '
        f"{escape(result.against)} = 0; right is better</text></svg>"
    )


def _label(row: Row, segments: Sequence[str]) -> str:
    return row.system if len(segments) == 1 else row.segment


def _whisker(label: str, each: Interval, x: Callable[[float], float], y: int) -> str:
    short = label if len(label) <= 40 else label[:39] + "…"
    return (
        f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(short)}</text>'
        f'<g class="{_CLASS[each.sign]}" stroke-width="2">'
        f'<line x1="{x(each.low)}" x2="{x(each.high)}" y1="{y}" y2="{y}"/>'
        f'<circle cx="{x(each.value)}" cy="{y}" r="4.5"/></g>'
        f'<text x="{_LEFT + _PLOT + 12}" y="{y + 4}">{number(each.value, signed=True)} '
        f'<tspan class="note">n = {each.n:,}</tspan></text>'
    )
