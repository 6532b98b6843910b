"""What a forked process does that is no command of its own: effects that no server comes to by itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from shortlist import release
from shortlist.stores.embedded import Embedded
from shortlist.types import Columns, Events

SPACE, WIDTH = "space", 4


def vectors(step: int) -> np.ndarray:
    """The vectors that step `step` puts: all of them say which step it was."""
    return np.full((step % 5 + 2, WIDTH), float(step), np.float32)


def index(folder: str) -> None:
    """Build, change and drop a space again and again; every step is said when it is durable."""
    with Embedded.open(Path(folder)) as stores:
        step = 1
        while step < 60:
            rows = np.arange(len(vectors(step)), dtype=np.int32)
            if step % 10 == 9:
                stores.index.drop(SPACE)
            elif step % 3 == 0:
                stores.index.build(SPACE, rows, vectors(step))
            else:
                stores.index.upsert(SPACE, rows[:1], vectors(step)[:1])
            sys.stdout.write(f"{step}\n")
            sys.stdout.flush()
            step += 1


def _event(step: int, user: int, columns: Columns | None = None) -> Events:
    number, row = np.array([step], np.uint64), np.array([user], np.int32)
    facts = (row, row, np.zeros(1, np.uint8), np.ones(1, np.float32), np.array([step], np.int64))
    return Events(*facts, number, np.stack((number, number), axis=1), columns or {})


def context(folder: str) -> None:
    """Append events with columns of their own, each new column after the one before."""
    with Embedded.open(Path(folder)) as stores:
        for step in range(1, 20):
            stores.log.append(_event(step, 0, {f"column_{step // 3}": np.array([step], np.int64)}))
            sys.stdout.write(f"{step}\n")
            sys.stdout.flush()


def erase(folder: str) -> None:
    """Append events of ten people, then take the events of person 3 out of every file."""
    with Embedded.open(Path(folder)) as stores:
        for step in range(1, 201):
            stores.log.append(_event(step, step % 10))
        stores.log.erase(np.array([3], np.int32))


def prune(root: str, keep: str) -> None:
    """Remove superfluous releases."""
    release.prune(Path(root), int(keep))


def fuzz(parser: str) -> None:
    """Seeded cases of one parser; ends with 1 when something else than an error of ours came out."""
    from benchmarks.faults.fuzz import quick

    wrong = quick(parser, 200, seed=1)
    sys.exit("\n".join(wrong) or 0)
