"""What is printed where: data on standard output, talk on standard error, progress on a terminal only."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from shortlist.progress import Turn, watched

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

Progress: TypeAlias = Callable[[int, float], None]  # rows so far, share of all in [0, 1], NaN = nobody knows
TRIFLE = 0.05  # seconds
VERSION = 1  # of the JSON that commands print; grows when a key changes its meaning or goes


class Screen:
    """Where one command prints. With `json`, one object on standard output and not a word on standard error."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet or json
        self._bar: Bar | None = None
        self._of = ""

    def say(self, text: str = "") -> None:
        """Talk: a line on standard error."""
        if not self.quiet:
            self._console(sys.stderr).print(text, highlight=False, markup=False, soft_wrap=True)

    def step(self, what: str, seconds: float) -> None:
        """Talk: something is done, and what it took."""
        self.say(f"  {what:<64} {seconds:6.1f} s")

    def fitted(self, what: str, seconds: float) -> None:
        """Talk: something was fitted; trifles go unsaid."""
        if seconds >= TRIFLE:
            self.step(what, seconds)

    def next(self, command: str) -> None:
        """The last line: what to do now."""
        self.say(f"next: {command}")

    def result(self, command: str, data: Mapping[str, Any]) -> None:
        """The answer for a machine, when one was asked for."""
        if self.json:
            write_json({"schema": f"shortlist.{command}/{VERSION}", **data})

    def text(self, text: str) -> None:
        """Data for people: lines on standard output."""
        if not self.json:
            self._console(sys.stdout).print(text, highlight=False, markup=False, soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "") -> None:
        """Data for people: a table on standard output. Columns whose cells are numbers are right-aligned."""
        if self.json:
            return
        from rich import box
        from rich.table import Table

        table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for place, name in enumerate(columns):
            numbers = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
            table.add_column(name, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*(cell(each) for each in row))
        console = self._console(sys.stdout)
        if not sys.stdout.isatty():
            console.width = 160
        console.print(table, highlight=False, markup=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """A bar with rows, rows a second and the time that remains, on a terminal; elsewhere silence."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda rows, share: None
            return
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} rows/s"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self._console(sys.stderr), transient=True) as bar:
            task = bar.add_task(what, total=None, rows=0, rate=0.0)
            start = perf_counter()

            def advance(rows: int, share: float) -> None:
                rate = rows / max(perf_counter() - start, 1e-3)
                known = None if math.isnan(share) else 1.0
                bar.update(task, completed=0 if known is None else share, total=known, rows=rows, rate=rate)

            yield advance

    @contextmanager
    def learning(self) -> Iterator[None]:
        """While models are learned: which, how far it is, what it has come to, and the time that remains, on a
        terminal; elsewhere silence."""
        if self.quiet or not sys.stderr.isatty():
            yield
            return
        try:
            with watched(self._turn):
                yield
        finally:
            self._still()

    def _turn(self, turn: Turn) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if self._bar is None or self._of != turn.of or turn.done <= self._bar.tasks[0].completed:
            self._still()
            columns = ("{task.description}", "{task.fields[unit]}"), ("{task.fields[note]}",)
            before, after = ([TextColumn(text) for text in each] for each in columns)
            self._bar = Bar(
                *before,
                MofNCompleteColumn(),
                BarColumn(),
                *after,
                TimeRemainingColumn(),
                console=self._console(sys.stderr),
                transient=True,
            )
            self._of = turn.of
            self._bar.add_task(turn.of, total=turn.most, unit=turn.unit, note="")
            self._bar.start()
        self._bar.update(self._bar.tasks[0].id, completed=turn.done, note=turn.note)

    def _still(self) -> None:
        """The bar of what is learned goes before anything else is said."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _console(self, stream: Any) -> Console:
        from rich.console import Console

        self._still()
        return Console(file=stream, no_color=True if os.environ.get("NO_COLOR") else None)


def write_json(data: Mapping[str, Any], stream: Any = None) -> None:
    """One strict JSON object on one line: no NaN, no infinity."""
    print(json.dumps(data, ensure_ascii=False, allow_nan=False), file=stream or sys.stdout)


def cell(value: Any) -> str:
    """A number as people read it, anything else as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
