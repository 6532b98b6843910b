"""The N-th step of a write fails, for N = 1 until it succeeds: an error, nothing half done, the second try works."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.jobs import WIDTH, vectors
from shortlist import failpoints, ops
from shortlist.errors import StoreError
from shortlist.stores import embedded_log
from shortlist.stores.embedded import Embedded
from shortlist.stream.fold import catch_up
from shortlist.types import Events

ROW = np.array([0], np.int32)


def events(count: int) -> Events:
    user, time = np.zeros(count, np.int32), np.arange(count, dtype=np.int64)
    facts = (user, np.arange(count, dtype=np.int32), np.ones(count, np.uint8), np.ones(count, np.float32), time)
    return Events(*facts, np.zeros(count, np.uint64), ops.event_ids(*facts))


def append(count: int) -> tuple[Callable[[Embedded], object], Callable[[Embedded], object]]:
    """Append, and what is in the log and in the histories afterwards."""

    def do(store: Embedded) -> None:
        store.log.append(events(count))
        catch_up(store.log, store.state, [], 1000)
        store.state.snapshot()

    def found(store: Embedded) -> object:
        catch_up(store.log, store.state, [], 1000)
        log = sorted(int(time) for _, each in store.log.scan() for time in each.time)
        return log, store.state.lists("user", "recent", ROW)["time"].tolist()

    return do, found


def put() -> tuple[Callable[[Embedded], object], Callable[[Embedded], object]]:
    def do(store: Embedded) -> None:
        rows = store.catalog.rows("item", ["a"], create=True)
        store.catalog.put("item", rows, {"size": np.array([3.0])})

    def found(store: Embedded) -> object:
        if "size" not in store.catalog.names("item"):
            return None
        return store.catalog.read("item", ROW, ["size"])["size"].tolist()

    return do, found


def build() -> tuple[Callable[[Embedded], object], Callable[[Embedded], object]]:
    def do(store: Embedded) -> None:
        store.index.build("space", ROW, vectors(0)[:1] + 1)

    def found(store: Embedded) -> object:
        try:
            return store.index.search("space", np.ones((1, WIDTH), np.float32), 1)[1].tolist()
        except Exception as error:
            return type(error).__name__

    return do, found


@pytest.fixture(autouse=True)
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("BULK", 10), ("ROLL", 6), ("SEGMENT", 16)):
        monkeypatch.setattr(embedded_log, name, value)
    yield
    failpoints.arm(None)


WRITES = {"a few": append(3), "a tail": append(8), "segments": append(40), "a put": put(), "an index": build()}
INPUT_OUTPUT = ("commit.before", "file.written", "file.synced", "file.cleared", "file.renamed")
"""Where a disk can fail; at the other boundaries only the process itself can end."""


@pytest.mark.fault("P3")
@pytest.mark.parametrize("name", WRITES)
def test_the_nth_step_fails(name: str, tmp_path: Path) -> None:
    do, found = WRITES[name]
    with Embedded.open(tmp_path / "whole") as store:
        before = found(store)
        do(store)
        wanted = found(store)
    assert wanted != before
    for nth in range(1, 100):
        came: list[str] = []

        def hit(name: str, came: list[str] = came, nth: int = nth) -> None:
            came.append(name)
            if len(came) == nth:
                raise OSError(errno.EIO, f"failpoint {name}")

        folder = tmp_path / str(nth)
        with Embedded.open(folder) as store:
            found(store)
            failpoints.arm(hit)
            with suppress(StoreError, OSError):
                do(store)
            failpoints.arm(None)
            if len(came) < nth:
                break
            if came[nth - 1] in INPUT_OUTPUT:
                do(store)
                assert found(store) == wanted, f"at once after step {nth}, {came[-1]}"
        with Embedded.open(folder) as store:
            do(store)
            assert found(store) == wanted, f"at the next start after step {nth}, {came[nth - 1]}"
    assert nth > 3
