"""A self-contained HTML page, light and dark: no script, nothing fetched. Every name from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #59636e; --line: #d1d9e0; --page: #ffffff;
  --better: #0072b2; --worse: #c44e00; --same: #59636e }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9da7b3; --line: #3d444d; --page: #0d1117;
  --better: #56b4e9; --worse: #e69f00; --same: #9da7b3 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } h3 { font-size: 1rem; margin-top: 1.5rem }
.note { color: var(--soft) } .scroll { overflow-x: auto }
pre { border: 1px solid var(--line); padding: .75rem; overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif } svg text { fill: var(--text) }
svg .note { fill: var(--soft) } .zero { stroke: var(--soft); stroke-dasharray: 3 3 }
.better { stroke: var(--better); fill: var(--better) } .worse { stroke: var(--worse); fill: var(--worse) }
.same { stroke: var(--same); fill: var(--same) } .hollow { fill: var(--page) } .line { fill: none }
"""


def page(title: str, body: str) -> str:
    """The whole page; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{body}</body></html>\n"
    )


def section(title: str, body: str, level: int = 2) -> str:
    """A heading above HTML that may be wider than the page."""
    return f'<h{level}>{escape(title)}</h{level}><div class="scroll">{body}</div>'


def note(text: str) -> str:
    """A paragraph that steps back."""
    return f'<p class="note">{escape(text)}</p>'


def table(lines: Sequence[Sequence[str]]) -> str:
    """Header, then rows, of plain text."""
    head, *body = ([escape(cell) for cell in line] for line in lines)
    rows = "".join(f"<tr><td>{'</td><td>'.join(line)}</td></tr>" for line in body)
    return f"<table><thead><tr><th>{'</th><th>'.join(head)}</th></tr></thead><tbody>{rows}</tbody></table>"
