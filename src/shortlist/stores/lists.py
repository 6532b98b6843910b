"""Bounded lists by row, end to end in growing arrays: written once, never changed in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ShapeError
from shortlist.ops import gather
from shortlist.types import Columns, Mask, Positions, Ragged, Rows


class Lists:
    """The list of row r is [start[r], start[r] + length[r]) of every column.

    A push writes the new lists behind everything else and moves the starts, so arrays that were read stay valid; what
    lies unused (`spare`) is dropped by `pack()`.
    """

    def __init__(self, columns: Columns) -> None:
        self._start = np.zeros(0, np.int64)
        self._length = np.zeros(0, np.int64)
        self._columns: dict[str, NDArray[Any]] = {name: column.copy() for name, column in columns.items()}
        self._used = len(self._columns["time"])
        self._live = 0

    @staticmethod
    def of(arrays: Columns) -> Lists:
        """From what `arrays()` gave."""
        lists = Lists({name[7:]: array for name, array in arrays.items() if name.startswith("column.")})
        lists._length = arrays["length"]
        lists._start = np.cumsum(lists._length) - lists._length
        lists._live = lists._used
        return lists

    def __len__(self) -> int:
        """Rows of all lists together."""
        return self._live

    @property
    def spare(self) -> int:
        return self._used - self._live

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, packed, as named arrays."""
        packed = self.read(np.arange(len(self._start), dtype=np.int32))
        return {"length": self._length.copy(), **{f"column.{name}": each for name, each in packed.columns.items()}}

    def pack(self) -> None:
        packed = Lists.of(self.arrays())
        self._start, self._columns, self._used = packed._start, packed._columns, packed._used

    def clear(self, rows: Rows) -> int:
        """Empty the lists of `rows`; how many rows that were."""
        known = rows[(rows >= 0) & (rows < len(self._length))]
        count = int(self._length[known].sum())
        self._length[known] = 0
        self._live -= count
        return count

    def keep(self, wanted: Callable[[Columns], Mask]) -> int:
        """Drop every row where `wanted` of the columns is false; how many."""
        whole = self.read(np.arange(len(self._length), dtype=np.int32))
        mask = wanted(whole.columns)
        kept = whole.where(mask)
        packed = Lists.of({"length": kept.length, **{f"column.{name}": each for name, each in kept.columns.items()}})
        self._start, self._length, self._columns = packed._start, packed._length, packed._columns
        self._used = self._live = packed._used
        return int(len(mask) - mask.sum())

    def check(self, where: str, rows: Rows, columns: Columns) -> None:
        if columns.keys() != self._columns.keys():
            raise ShapeError(f"{where}: columns are {sorted(columns)}, were {sorted(self._columns)}")
        for name, column in columns.items():
            mine = self._columns[name]
            if column.shape != (len(rows), *mine.shape[1:]):
                raise ShapeError(f"{where}: {name!r} has shape {column.shape}, expected {(len(rows), *mine.shape[1:])}")
            if not np.can_cast(column.dtype, mine.dtype, "same_kind"):
                raise ShapeError(f"{where}: {name!r} is {column.dtype}, was {mine.dtype}")

    def read(self, rows: Rows) -> Ragged:
        """The lists of `rows`; rows that have none are empty."""
        at: Any
        if len(rows) == 1:
            first, length = self._place(rows.item())
            ptr, at = np.array((0, length)), slice(first, first + length)
        else:
            start, lengths = gather(self._start, rows, 0), gather(self._length, rows, 0)
            ptr = np.zeros(len(rows) + 1, np.int64)
            np.cumsum(lengths, out=ptr[1:])
            at = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], lengths)
        found = {name: column[at] for name, column in self._columns.items()}
        for column in found.values():
            column.flags.writeable = False
        return Ragged(ptr, found)

    def push(self, rows: Rows, columns: Columns, keep: int) -> None:
        known = rows >= 0
        if not known.all():
            rows, columns = rows[known], {name: column[known] for name, column in columns.items()}
        if not len(rows):
            return
        if len(rows) == 1:
            touched, old = rows, self.read(rows)
            order, length = _merged_one(old["time"], columns["time"], keep)
        else:
            touched, owner = np.unique(rows, return_inverse=True)
            old = self.read(touched)
            order, length = _merged(old, owner, columns["time"], keep)
        first = self._room(len(order))
        for name, column in self._columns.items():
            column[first : first + len(order)] = np.concatenate((old[name], columns[name]))[order]
        self._grow(int(touched[-1]) + 1)
        self._live += len(order) - len(old["time"])
        self._start[touched] = first + np.cumsum(length) - length
        self._length[touched] = length

    def _place(self, row: int) -> tuple[int, int]:
        """Where the list of `row` begins, and its length."""
        if 0 <= row < len(self._start):
            return self._start.item(row), self._length.item(row)
        return 0, 0

    def _room(self, count: int) -> int:
        """Room for `count` more rows at the end of every column; returns where it begins."""
        first, size = self._used, len(self._columns["time"])
        if first + count > size:
            for name, column in self._columns.items():
                grown = np.empty((max(first + count, 2 * size), *column.shape[1:]), column.dtype)
                grown[:first] = column[:first]
                self._columns[name] = grown
        self._used += count
        return first

    def _grow(self, rows: int) -> None:
        more = max(rows, 2 * len(self._start)) - len(self._start)
        if rows > len(self._start):
            self._start = np.concatenate((self._start, np.zeros(more, np.int64)))
            self._length = np.concatenate((self._length, np.zeros(more, np.int64)))


def _merged(old: Ragged, owner: Positions, time: NDArray[np.int64], keep: int) -> tuple[Positions, NDArray[np.int64]]:
    """Positions into old + new rows of what each list keeps, list after list; and how much that is."""
    owner = np.concatenate((old.owner, owner))
    order = np.lexsort((np.concatenate((old["time"], time)), owner))  # stable: equal times stay as they came
    length = np.bincount(owner, minlength=len(old))
    newest = np.repeat(np.cumsum(length), length) - np.arange(len(order)) <= keep
    return order[newest], np.minimum(length, keep)


def _merged_one(old: NDArray[np.int64], time: NDArray[np.int64], keep: int) -> tuple[Positions, NDArray[np.int64]]:
    """`_merged` for one new row, the common case of a live event."""
    at, size = int(old.searchsorted(time[0], side="right")), len(old)
    order = np.concatenate((np.arange(at), [size], np.arange(at, size)))[-keep:]
    return order, np.array([len(order)])
