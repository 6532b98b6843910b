"""What counters share: which events count, and how what was learned and what has come since are held together."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Kinds
from shortlist.errors import ConfigError
from shortlist.types import Events, Mask, Scores

RATIO = 64  # a log is joined with the one before it when it has more than 1 / RATIO of its events


def which(kinds: Kinds, names: Sequence[str], where: str) -> tuple[NDArray[np.uint8], Scores]:
    """Codes (K,) of the kinds `names` that count, and the value (K,) from which on an event of each does; those that
    are likings when none is named. Raises ConfigError for a kind that does not exist."""
    unknown = [name for name in names if name not in kinds.table]
    if unknown:
        hint = f"there are: {', '.join(kinds.table)}"
        raise ConfigError(f"there is no kind of event {unknown[0]!r}", where=where, hint=hint)
    counted = [kinds.table[name] for name in names] or [kind for kind in kinds.table.values() if kind.weight > 0]
    least = [ops.LOWEST if names else max(kind.least, ops.LOWEST) for kind in counted]
    return np.array([kind.code for kind in counted], np.uint8), np.array(least, np.float32)


def counted(events: Events, code: NDArray[np.uint8], least: Scores) -> Mask:
    """(E,) true for events that count, by what `which` says."""
    bar = np.full(256, np.inf, np.float32)
    bar[code] = least
    counts: Mask = events.value >= bar[events.kind]
    return counts


class Log(Protocol):
    """Events in an order that can be asked."""

    @property
    def size(self) -> int: ...

    def joined(self: L, other: L) -> L: ...


L = TypeVar("L", bound=Log)


class Growing(Generic[L]):
    """Logs that together hold what happened, each much smaller than the one before; a question adds up their answers.

    Readers never see one half of a change: they take `held` once.
    """

    def __init__(self, base: L) -> None:
        self.held: tuple[L, ...] = (base,)
        self._lock = Lock()

    def add(self, log: L) -> None:
        if not log.size:
            return
        with self._lock:
            held = [*self.held, log]
            while len(held) > 1 and held[-1].size * RATIO > held[-2].size:
                last = held.pop()
                held[-1] = held[-1].joined(last)
            self.held = tuple(held)
