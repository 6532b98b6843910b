"""Processes that are killed: what was acknowledged is there afterwards, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import kills, steps, world
from benchmarks.faults.processes import Nursery

ROUNDS = 3 * (len(kills.SERVED) + 1) // 2  # two of three lives end at a boundary, and each boundary comes once


@pytest.mark.fault("P1")
@pytest.mark.fault("P2")
def test_a_server_that_is_killed_loses_nothing_and_does_nothing_twice(
    nursery: Nursery, start: Path, tmp_path: Path
) -> None:
    found = kills.loop(nursery, start, tmp_path, ROUNDS, seed=1)
    assert not found.wrong, found.wrong
    assert found.at.keys() == {"", *kills.SERVED}
    assert found.kills == ROUNDS
    assert found.acknowledged["events"] > 500


@pytest.mark.fault("P2")
@pytest.mark.fault("P4")
@pytest.mark.parametrize("point", steps.POINTS)
def test_a_command_that_died_at_a_boundary_can_be_run_again(
    nursery: Nursery, start: Path, tmp_path: Path, point: str
) -> None:
    assert steps.die_at(nursery, start, tmp_path / "run", point) == []


@pytest.mark.fault("P4")
def test_training_that_is_killed_at_any_moment_changes_nothing(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    assert steps.train_randomly(nursery, world.copy(start, tmp_path / "home"), 2, seed=1) == []


@pytest.mark.slow
def test_500_lives(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    found = kills.loop(nursery, start, tmp_path, 500, seed=2)
    assert not found.wrong, found.wrong
    assert found.kills >= 490


@pytest.mark.slow
def test_50_trainings(nursery: Nursery, start: Path, tmp_path: Path) -> None:
    assert steps.train_randomly(nursery, world.copy(start, tmp_path / "home"), 50, seed=2) == []
