"""docs/fault-table.md and the drawing beside it, written from the last run: `python -m benchmarks.fault_table`, with
`--run` after running it.

A row is what must hold under one fault, with its goal. It is measured by the tests that carry its mark
(`@pytest.mark.fault("P1")`) or that benchmarks/faults/rows.toml names, and by the figures of
`python -m benchmarks.faults`. A row without a test, or with one that failed, is red and stays in the table.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import drawn
from benchmarks.faults.processes import ROOT

RESULTS = ROOT / "benchmarks" / "results"
DRAWING = ROOT / "docs" / "feedback-loop.svg"
OUTCOMES, FIGURES, PAGE = RESULTS / "fault-rows.json", RESULTS / "faults.json", ROOT / "docs" / "fault-table.md"
ROWS: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "faults" / "rows.toml").read_text("utf-8")
)
"""Row -> fault, goal, tests."""


class Recorder:
    """Runs the tests that rows are measured by, and remembers how they ended."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self.wanted = set(wanted)
        self.rows: dict[str, list[str]] = {}  # test -> rows
        self.outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        for item in items:
            marked = {str(mark.args[0]) for mark in item.iter_markers("fault")}
            test = item.nodeid.partition("[")[0]
            named = {row for row, about in ROWS.items() if any(fnmatch(test, each) for each in about["tests"])}
            self.rows[item.nodeid] = sorted((marked | named) & self.wanted)
        others = [item for item in items if not self.rows[item.nodeid]]
        items[:] = [item for item in items if self.rows[item.nodeid]]
        config.hook.pytest_deselected(items=others)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        told = report.failed or report.when == "call" or (report.when == "setup" and report.skipped)
        if told and self.outcomes.get(report.nodeid) != "failed":
            self.outcomes[report.nodeid] = report.outcome

    def counts(self) -> dict[str, dict[str, int]]:
        """How many tests of each row passed, failed and were skipped."""
        found = {row: {"passed": 0, "failed": 0, "skipped": 0} for row in self.wanted}
        for test, outcome in self.outcomes.items():
            for row in self.rows[test]:
                found[row][outcome] += 1
        return found


def run(wanted: Sequence[str]) -> dict[str, Any]:
    """Run every test of these rows once; by row what came of it, when, and of which commit."""
    from benchmarks.faults.__main__ import stamp

    recorder, about = Recorder(wanted), stamp()
    pytest.main(["-q", "-p", "no:cacheprovider", str(ROOT / "tests")], plugins=[recorder])
    return {row: {**about, **counts} for row, counts in recorder.counts().items()}


def page(outcomes: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The page. Rows that no test measures, and rows of which one failed, are red."""
    lines = []
    for row, about in ROWS.items():
        ran = outcomes.get(row, {"passed": 0, "failed": 0, "date": "", "commit": ""})
        told, good = figure(row, figures)
        ended = ", ".join(f"{ran[how]} {how}" for how in ("passed", "failed", "skipped") if ran.get(how))
        measured = "; ".join(filter(None, (ended and f"tests: {ended}", told))) or "not measured"
        state = "green" if good and ran["passed"] and not ran["failed"] else "**red**"
        stands = (row, state, about["fault"], about["goal"], measured, ran["date"], ran["commit"])
        lines.append(f"| {' | '.join(stands)} |")
    red = sum("**red**" in line for line in lines)
    runs = "\n".join(
        f"- `{part}`: {about['date']}, commit {about['commit']}, seed {about['seed']}, {about['seconds']:,.0f} s"
        for part, about in figures.items()
    )
    return TEXT.format(rows=len(lines), green=len(lines) - red, red=red, table="\n".join(lines), runs=runs)


def figure(row: str, figures: Mapping[str, Any]) -> tuple[str, bool]:
    """What the long runs measured for a row, and whether that is good."""
    kills, steps, disk, fuzz = (figures.get(part) for part in ("kills", "steps", "disk", "fuzz"))
    if row == "P1" and kills:
        events = f"{kills['acknowledged']['events']:,} events acknowledged"
        told = f"{kills['kills']} kills, {events}: {kills['lost']} lost, {kills['twice']} twice"
        return f"{told}; slowest start {kills['slowest_start_s']} s", not kills["wrong"]
    if row == "P2" and kills and steps:
        return f"{len(kills['killed_at']) - 1 + steps['boundaries']} boundaries", not kills["wrong"] + steps["wrong"]
    if row == "P4" and steps:
        return f"{steps['trainings_killed']} trainings killed at any moment", not steps["wrong"]
    if row == "I13" and fuzz:
        told = f"{fuzz['cases']:,} cases, {fuzz['seconds_each']:g} s a parser"
        return f"{told}: {len(fuzz['wrong'])} found", not fuzz["wrong"]
    if row == "P9" and "workers" not in figures:  # its tests watch no clock
        return "seconds not measured", False
    if row == "P9":
        told = "{rounds} kills, {workers} workers: back after {slowest_s} s at most, median {median_s} s"
        return told.format(**figures["workers"]), not figures["workers"]["wrong"]
    if row == "M12" and "loop" in figures:
        loop = figures["loop"]
        said = (
            "coverage {least_coverage_kept:.1%} of the first at the least, Gini {greatest_gini_rise:+.3f} at the most"
        )
        world = f"{loop['rounds']} trainings for {loop['users']} people and {loop['items']} items"
        sides = f"{said.format(**loop['explored'])}; without exploration {said.format(**loop['unexplored'])}"
        return f"{world}: {sides} ([drawn](feedback-loop.svg))", not loop["wrong"]
    part = {"P6": "full", "P7": "read_only", "P8": "small_memory", "P11": "crowded"}.get(row, "")
    if not part or not disk:
        return "", True
    found = disk[part]
    told = {
        "full": "{how}: {refused} refused, {lists_meanwhile} lists meanwhile",
        "read_only": "{how}: refused after {refused_after_s} s",
        "small_memory": "{how} of {limit_mb} MB: {peak_mb} MB at most",
        "crowded": "holder {holder}",
    }[part]
    return told.format(**found) if len(found) > 1 else "", not found["wrong"]


TEXT = """# Faults, and what happens then

{rows} rows: {green} green, {red} red. Written by `python -m benchmarks.fault_table` from the last run; red rows stay.
What a row measures is what a client outside the process saw. Planted defects are in `benchmarks/faults/defects.py`.

| row | state | fault | goal | measured | date | commit |
|---|---|---|---|---|---|---|
{table}

Long runs (`python -m benchmarks.faults --rounds 500 --trainings 50 --fuzz 600 --json benchmarks/results/faults.json`):

{runs}
"""


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_table", description=__doc__)
    parser.add_argument("--run", nargs="*", metavar="ROW", help="run the tests of these rows first, of all without ROW")
    given = parser.parse_args()
    if given.run is not None:
        ran = {**read(OUTCOMES), **run(given.run or list(ROWS))}
        OUTCOMES.write_text(json.dumps({row: ran[row] for row in ROWS if row in ran}, indent=1) + "\n", "utf-8")
    figures = read(FIGURES)
    PAGE.write_text(page(read(OUTCOMES), figures), "utf-8")
    if "loop" in figures:
        DRAWING.write_text(drawn.svg(figures["loop"]), "utf-8")
    print(f"{datetime.now(UTC):%H:%M:%S} wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
