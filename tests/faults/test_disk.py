"""Disks that are full or read-only, little memory, two processes: refused in words, lists go on, it heals by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import disk
from benchmarks.faults.processes import Nursery


@pytest.mark.fault("P6")
def test_on_a_full_disk_events_are_refused_and_lists_go_on(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    found = disk.full(nursery, start, tmp_path)
    assert not found["wrong"]
    assert found["refused"] == found["lists_meanwhile"] == 20


@pytest.mark.fault("P7")
def test_a_read_only_disk_is_named_with_a_remedy(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    found = disk.read_only(nursery, start, tmp_path)
    assert not found["wrong"]
    assert found["refused"] == 20


@pytest.mark.fault("P8")
def test_512_mb_are_enough(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    found = disk.small_memory(nursery, start, tmp_path, seconds=1.0)
    assert not found["wrong"]
    assert 0 < found["peak_mb"] < found["limit_mb"]


@pytest.mark.fault("P11")
def test_a_second_process_is_told_who_holds_the_folder(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    assert not disk.crowded(nursery, start, tmp_path)["wrong"]
