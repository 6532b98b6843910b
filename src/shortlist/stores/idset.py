"""Which event ids are known: 16 bytes an id."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shortlist.ops import mix
from shortlist.types import Mask

Words = NDArray[np.uint64]
RECENT = 4096


class IdSet:
    """A set of 128-bit ids (E, 2): sorted runs, each at least twice the next, and a small set of the latest.

    An id is kept as (key, rest): key = mix(first ^ mix(rest)) is spread evenly whatever the caller's ids look like, and
    the pair still determines the id, so membership is exact.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[Words, Words]] = []
        self._recent: set[tuple[int, int]] = set()

    def __len__(self) -> int:
        return sum(len(key) for key, _ in self._runs) + len(self._recent)

    def fresh(self, id: Words) -> Mask:
        """(E,) true for the first of each id that is not in the set."""
        key, rest = _spread(id)
        if len(key) > RECENT:
            self._settle()
        mask = _first(key, rest)
        for run in self._runs:
            mask &= ~_holds(run, key, rest)
        if self._recent:
            known = (pair in self._recent for pair in zip(key.tolist(), rest.tolist(), strict=True))
            mask &= ~np.fromiter(known, np.bool_, len(key))
        return mask

    def add(self, id: Words) -> None:
        """Take in ids that `fresh` has passed."""
        key, rest = _spread(id)
        if len(key) <= RECENT:
            self._recent.update(zip(key.tolist(), rest.tolist(), strict=True))
            if len(self._recent) > RECENT:
                self._settle()
        else:
            self._add_run(key, rest)

    def discard(self, id: Words) -> None:
        """Forget ids; those that are not in the set do no harm."""
        key, rest = _spread(id)
        self._recent.difference_update(zip(key.tolist(), rest.tolist(), strict=True))
        gone = _sorted(key, rest)
        for at, (keys, rests) in enumerate(self._runs):
            found = _holds(gone, keys, rests)
            if found.any():
                self._runs[at] = keys[~found], rests[~found]

    def _settle(self) -> None:
        if self._recent:
            pairs = np.array(list(self._recent), np.uint64)
            self._recent = set()
            self._add_run(pairs[:, 0], pairs[:, 1])

    def _add_run(self, key: Words, rest: Words) -> None:
        self._runs.append(_sorted(key, rest))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(_sorted(np.concatenate((before[0], last[0])), np.concatenate((before[1], last[1]))))


def _spread(id: Words) -> tuple[Words, Words]:
    rest = id[:, 1].astype(np.uint64)
    return mix(id[:, 0] ^ mix(rest)), rest


def _sorted(key: Words, rest: Words) -> tuple[Words, Words]:
    order = np.argsort(key, kind="stable")  # linear where two sorted runs are joined
    return key[order], rest[order]


def _first(key: Words, rest: Words) -> Mask:
    """True for the first of equal pairs."""
    mask = np.ones(len(key), np.bool_)
    ordered = np.sort(key)
    if np.any(ordered[1:] == ordered[:-1]):  # seldom: repeats, or keys that collide
        order = np.lexsort((rest, key))  # stable: the first of equals stays first
        same = (key[order][1:] == key[order][:-1]) & (rest[order][1:] == rest[order][:-1])
        mask[order[1:][same]] = False
    return mask


def _holds(run: tuple[Words, Words], key: Words, rest: Words) -> Mask:
    keys, rests = run
    found = np.zeros(len(key), np.bool_)
    at = np.searchsorted(keys, key)
    open_ = np.flatnonzero(at < len(keys))
    while len(open_ := open_[keys[at[open_]] == key[open_]]):  # once, but for two ids whose 64-bit keys collide
        found[open_] |= rests[at[open_]] == rest[open_]
        at[open_] += 1
        open_ = open_[at[open_] < len(keys)]
    return found
