"""One nursery of processes and one tiny installation for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults import world
from benchmarks.faults.processes import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture(scope="session")
def start(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a release: copy it before anything is done to it."""
    return world.make(nursery, tmp_path_factory.mktemp("faults") / "world")
