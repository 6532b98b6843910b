"""The table of faults is the one that was measured, and every row is measured by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import fault_table
from benchmarks.faults import drawn

TESTS = Path(__file__).parents[1]
STAMP = {"date": "d", "commit": "c", "seed": 1, "seconds": 1}


def test_the_page_is_that_of_the_last_run() -> None:
    wanted = fault_table.page(fault_table.read(fault_table.OUTCOMES), fault_table.read(fault_table.FIGURES))
    assert fault_table.PAGE.read_text("utf-8") == wanted, "write it anew with: python -m benchmarks.fault_table"


def test_the_drawing_is_that_of_the_last_run_and_shows_both_loops() -> None:
    found = fault_table.read(fault_table.FIGURES)["loop"]
    image = drawn.svg(found)
    assert fault_table.DRAWING.read_text("utf-8") == image, "write it anew with: python -m benchmarks.fault_table"
    lines = [each.get("points", "").split() for each in ElementTree.fromstring(image).iter() if "points" in each.attrib]
    assert [len(line) for line in lines] == [found["rounds"]] * 4


@pytest.mark.parametrize("row", fault_table.ROWS)
def test_the_tests_of_a_row_exist(row: str) -> None:
    for each in fault_table.ROWS[row]["tests"]:
        file, _, pattern = each.partition("::")
        names = re.findall(r"^def (test_\w+)", (TESTS.parent / file).read_text("utf-8"), re.M)
        assert any(re.fullmatch(pattern.replace("*", ".*"), name) for name in names), each


def test_every_mark_is_a_row() -> None:
    marks = {
        mark
        for file in TESTS.rglob("test_*.py")
        for mark in re.findall(r'^@pytest\.mark\.fault\("(\w+)"\)', file.read_text("utf-8"), re.M)
    }
    assert marks - set(fault_table.ROWS) <= {"M6", "P14"}, "rows of later issues are marked already"


def test_a_row_that_failed_or_was_not_measured_is_red() -> None:
    about = {"date": "2026-01-01", "commit": "abc", "skipped": 0}
    ran = {"P1": {"passed": 2, "failed": 1, **about}, "I2": {"passed": 1, "failed": 0, **about}}
    page = fault_table.page(ran, {})
    assert "| P1 | **red** |" in page
    assert "| I2 | green |" in page
    assert re.search(r"\| M12 \| \*\*red\*\* \|.*\| not measured \|", page)
    ran["P1"]["failed"] = 0
    assert "| P1 | green |" in fault_table.page(ran, {})
    loop = {"rounds": 1, "users": 1, "items": 1, "wrong": ["coverage fell"]}
    spread = {"least_coverage_kept": 0.5, "greatest_gini_rise": 0.2}
    figures: dict[str, Any] = {"loop": {**loop, "explored": spread, "unexplored": spread, **STAMP}}
    ran["M12"] = {"passed": 1, "failed": 0, **about}
    assert "| M12 | **red** |" in fault_table.page(ran, figures)
    figures["loop"]["wrong"] = []
    assert "| M12 | green |" in fault_table.page(ran, figures)
    ran["P9"] = {"passed": 1, "failed": 0, **about}
    assert "| P9 | **red** |" in fault_table.page(ran, {})
    kills = {"acknowledged": {"events": 3}, "kills": 1, "lost": 1, "twice": 0, "wrong": ["lost"], "slowest_start_s": 1}
    figures = {"kills": {**kills, **STAMP}}
    assert "| P1 | **red** |" in fault_table.page(ran, figures)
