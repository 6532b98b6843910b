"""How far a training is, told to whoever watches. Nothing that is learned depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias


class Turn(NamedTuple):
    """One turn of a training is done."""

    of: str  # what is being learned: its place in the configuration, empty = nobody said
    unit: str  # epoch, sweep, tree
    done: int
    most: int  # it may stop earlier
    note: str  # what it has come to


Watcher: TypeAlias = Callable[[Turn], None]
_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(by: Watcher) -> Iterator[None]:
    """Within, `by` is told of every turn."""
    before = _watcher.set(by)
    try:
        yield
    finally:
        _watcher.reset(before)


@contextmanager
def learning(of: str) -> Iterator[None]:
    """Within, turns are those of learning `of`."""
    watcher = _watcher.get()
    if watcher is None:
        yield
        return
    with watched(lambda turn: watcher(turn if turn.of else turn._replace(of=of))):
        yield


def tell(unit: str, done: int, most: int, note: str = "") -> None:
    """A turn is done; called by what learns. Free when nobody watches."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(Turn("", unit, done, most, note))
