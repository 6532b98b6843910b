"""A row that does not turn red when its promise is broken is a bad test. All defects: `python -m benchmarks.faults`."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import defects
from benchmarks.faults.processes import Nursery


@pytest.mark.parametrize("name", defects.QUICK)
def test_a_planted_defect_turns_its_row_red(nursery: Nursery, start: Path, tmp_path: Path, name: str) -> None:
    assert defects.red(nursery, start, tmp_path / "run", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", defects.DEFECTS)
def test_every_planted_defect_turns_its_row_red_and_only_then(
    nursery: Nursery, start: Path, tmp_path: Path, name: str
) -> None:
    assert defects.red(nursery, start, tmp_path / "run", name)
    assert not defects.green(nursery, start, tmp_path / "clean", name)
