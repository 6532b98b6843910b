"""The feedback loop as a drawing (SVG): coverage and Gini index of every round, with exploration and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.faults.loop import COVERAGE, GINI

WIDTH, HEIGHT, LEFT, TOP, PLOT, TALL, GAP = 920, 330, 50, 50, 250, 220, 190
STYLE = """
svg { --text: #1b1f24; --soft: #59636e; --on: #0072b2; --off: #c44e00; font: 13px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { svg { --text: #e6edf3; --soft: #9da7b3; --on: #56b4e9; --off: #e69f00 } }
text { fill: var(--text) } .soft { fill: var(--soft) } line { stroke: var(--soft) } .limit { stroke-dasharray: 3 3 }
polyline { fill: none; stroke-width: 2 } .on { stroke: var(--on) } .off { stroke: var(--off); stroke-dasharray: 7 4 }
"""


def svg(found: Mapping[str, Any]) -> str:
    """The figures of part "loop" as two plots side by side, each with the limit that round 1 sets."""
    on, off = found["explored"], found["unexplored"]
    plots = (
        _plot(
            LEFT, "share of the catalogue that was shown", on["coverage"], off["coverage"], COVERAGE * on["coverage"][0]
        ),
        _plot(LEFT + PLOT + GAP, "Gini index of what was shown", on["gini"], off["gini"], on["gini"][0] + GINI),
    )
    told = (
        f"{found['users']} people, {found['items']} items, {found['rounds']} trainings, each on what the ones before "
        f"caused. Solid: one place of {found['places']} by lot; dashed: none."
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>Feedback loop</title><style>{STYLE}</style>{''.join(plots)}"
        f'<text class="soft" x="{LEFT}" y="{HEIGHT - 12}">{told}</text></svg>\n'
    )


def _plot(left: int, title: str, on: Sequence[float], off: Sequence[float], limit: float) -> str:
    """Two lines from 0 to 1 over the rounds, named where they end."""

    def y(value: float) -> float:
        return round(TOP + (1 - value) * TALL, 1)

    def line(name: str, values: Sequence[float]) -> str:
        step = PLOT / max(1, len(values) - 1)
        points = " ".join(f"{left + place * step:.1f},{y(value)}" for place, value in enumerate(values))
        return f'<polyline class="{name}" points="{points}"/>'

    ticks = "".join(
        f'<text class="soft" x="{left - 8}" y="{y(value) + 4}" text-anchor="end">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    right = left + PLOT
    ends = sorted(((on[-1], "with exploration"), (off[-1], "without")), reverse=True)
    high, low = y(ends[0][0]), y(ends[1][0])
    places = (high, max(low, high + 15))
    names = "".join(
        f'<text x="{right + 8}" y="{place + 4}">{name} {value:.2f}</text>'
        for place, (value, name) in zip(places, ends, strict=True)
    )
    return (
        f'<text x="{left}" y="{TOP - 22}" font-weight="600">{title}</text>{ticks}'
        f'<line x1="{left}" x2="{right}" y1="{y(0)}" y2="{y(0)}"/>'
        f'<line x1="{left}" x2="{left}" y1="{y(1)}" y2="{y(0)}"/>'
        f'<line class="limit" x1="{left}" x2="{right}" y1="{y(limit)}" y2="{y(limit)}"/>'
        f'<text class="soft" x="{right}" y="{y(limit) + (15 if limit < on[-1] else -5)}" text-anchor="end">'
        f"limit {limit:.2f}</text>"
        f"{line('on', on)}{line('off', off)}{names}"
        f'<text class="soft" x="{left}" y="{y(0) + 18}">round 1</text>'
        f'<text class="soft" x="{right}" y="{y(0) + 18}" text-anchor="end">{len(on)}</text>'
    )
