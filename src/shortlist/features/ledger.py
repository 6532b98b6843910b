"""How much of each key had happened by any moment, older events counting less: a sum beside every event."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shortlist import ops

PLACE = 32  # bits of a code for the place of an event in the order of time
NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Ledger:
    """After each event: how many of its key there were, each halved once a half-life (Cormode et al., ICDE 2009).

    Between events a sum only fades, so the last one before a moment tells what was true then. 16 + 8 W bytes an event.
    """

    pace: NDArray[np.float64]  # (W,) halvings a microsecond, 0 = nothing fades; the first is 0
    key: NDArray[np.uint64]  # (K,) rising
    born: NDArray[np.int64]  # (K,) time of the first event
    time: NDArray[np.int64]  # (E,) rising
    code: NDArray[np.int64]  # (E,) place in `key` << 32 | place in `time`, rising
    total: NDArray[np.float64]  # (E, W) in the order of `code`
    horizon: int  # moments up to it can no longer be asked about
    most: int  # events that are kept: see `bounded`

    @staticmethod
    def of(key: NDArray[np.uint64], time: NDArray[np.int64], pace: NDArray[np.float64], most: int) -> Ledger:
        """Of events (E,)."""
        made = _laid(key, time, np.zeros((len(key), len(pace))), pace, NEVER, most)
        at, moment = made.code >> PLACE, made.moment
        left = _faded(np.diff(moment, prepend=moment[:1]), pace)
        left[np.diff(at, prepend=-1) > 0] = 0  # another key begins
        made.total[:] = _summed(left)
        return made.bounded()

    @property
    def size(self) -> int:
        return len(self.time)

    @property
    def moment(self) -> NDArray[np.int64]:
        """(E,) the times in the order of `code`."""
        moment: NDArray[np.int64] = self.time[self.code & ((1 << PLACE) - 1)]
        return moment

    def asked(self, key: NDArray[np.uint64], now: NDArray[np.int64], *, until: bool = False) -> NDArray[np.float64]:
        """(N, W) the sums of each key before `now` (N,), `until` with what happened at that very moment."""
        made = np.zeros((len(key), len(self.pace)))
        if not (len(key) and self.size):
            return made
        at = np.minimum(np.searchsorted(self.key, key), len(self.key) - 1)
        place = np.searchsorted(self.time, now, side="right" if until else "left")
        row = np.searchsorted(self.code, (at << PLACE) | place) - 1
        held = np.flatnonzero((self.key[at] == key) & (row >= 0) & (self.code[row] >> PLACE == at))
        row = row[held]
        age = now[held] - self.time[self.code[row] & ((1 << PLACE) - 1)]
        made[held] = self.total[row] * _faded(age, self.pace)
        return made

    def joined(self, other: Ledger) -> Ledger:
        """Both: beside each event of one stands what the other adds to it. `other` counts as later at equal times."""
        parts = []
        for one, rest, until in ((self, other, False), (other, self, True)):
            key, moment = one.key[one.code >> PLACE], one.moment
            parts.append((key, moment, one.total + rest.asked(key, moment, until=until)))
        key, time, total = (np.concatenate(pair) for pair in zip(*parts, strict=True))
        made = _laid(key, time, total, self.pace, max(self.horizon, other.horizon), self.most)
        born = made.born
        for each in (self, other):
            at = np.searchsorted(made.key, each.key)
            born[at] = np.minimum(born[at], each.born)
        return made.bounded()

    def bounded(self) -> Ledger:
        """At most `most` events. What goes first is what later events of the same key stand for, the oldest: a moment
        before those can no longer be asked about. If that is not enough, the keys that have been silent longest."""
        most = self.most
        if self.size <= most:
            return self
        want, at, moment = max(most * 3 // 4, 1), self.code >> PLACE, self.moment
        newest = np.append(at[1:] != at[:-1], True)
        after = moment[1:][~newest[:-1]]  # when the next event of the key took over
        kept, horizon = newest.copy(), self.horizon
        surplus = self.size - want
        if surplus < len(after):
            horizon = max(horizon, int(np.partition(after, surplus - 1)[surplus - 1]))
            kept[np.flatnonzero(~newest)[after > horizon]] = True
        elif len(after):
            horizon = max(horizon, int(after.max()))
        rows = np.flatnonzero(kept)
        if len(rows) > most:
            rows = np.sort(rows[np.argsort(-moment[rows], kind="stable")[:want]])
        key = self.key[at[rows]]
        made = _laid(key, moment[rows], self.total[rows], self.pace, horizon, most)
        return replace(made, born=self.born[np.searchsorted(self.key, made.key)])


def _laid(
    key: NDArray[np.uint64],
    time: NDArray[np.int64],
    total: NDArray[np.float64],
    pace: NDArray[np.float64],
    horizon: int,
    most: int,
) -> Ledger:
    """Events in any order, equal keys and times as they come."""
    order = ops.stable_order(time)
    names, at = np.unique(key[order], return_inverse=True)
    code = (at.astype(np.int64) << PLACE) | np.arange(len(order))
    rising = ops.stable_order(code)
    code, moment = code[rising], time[order][rising]
    first = np.searchsorted(code >> PLACE, np.arange(len(names)))
    return Ledger(pace, names, moment[first], time[order], code, total[order][rising], horizon, most)


def _faded(age: NDArray[np.int64], pace: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, W) what is left of 1 after `age` (N,)."""
    left: NDArray[np.float64] = np.exp2(-np.maximum(age, 0)[:, None] * pace)
    return left


def _summed(left: NDArray[np.float64]) -> NDArray[np.float64]:
    """(E, W) s with s[i] = left[i] · s[i - 1] + 1: in blocks side by side, then from block to block."""
    rows, width = left.shape
    side = int(np.sqrt(rows)) + 1
    block = np.zeros((side, side, width))
    block.reshape(-1, width)[:rows] = left
    total = np.ones_like(block)
    for each in range(1, side):
        total[:, each] += block[:, each] * total[:, each - 1]
    np.cumprod(block, axis=1, out=block)
    for each in range(1, side):
        total[each] += block[each] * total[each - 1, -1]
    return total.reshape(-1, width)[:rows]
