"""A training window as columns and matrices, and the one definition of what an event is worth."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.errors import ConfigError
from shortlist.types import Columns, Events, Ragged, Rows, Scores

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DAY = 86_400_000_000  # microseconds
_UNITS = {"s": DAY // 86_400, "m": DAY // 1_440, "h": DAY // 24, "d": DAY, "w": 7 * DAY}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhdw])")


def duration(text: str) -> int:
    """Microseconds in "90s", "15m", "12h", "30d", "2w"; anything else, and nothing at all ("0d"), is a ConfigError."""
    match = _DURATION.fullmatch(text.strip())
    length = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 1 <= length < 2**62:
        raise ConfigError(
            f"{text!r} is not a length of time",
            hint="write a number and a unit, s, m, h, d or w, such as 90s, 12h, 30d",
        )
    return round(length)


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of event is worth.

    An event of this kind with value >= `least` adds `weight`; of one user and item at most `cap` events count (0 = no
    cap). Weight 0 means "seen, says nothing more" (a view, a film watched, not rated); a negative weight is a dislike:
    the item is never proposed again and never counts as liked.
    """

    code: int
    weight: float = 1.0
    cap: int = 0
    least: float = -np.inf


@dataclass(frozen=True)
class Kinds:
    """All kinds of one installation by name. Codes 0-255 are stored with the events: never give one to another name."""

    table: Mapping[str, Kind] = field(default_factory=lambda: DEFAULT_KINDS)

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        for name, kind in self.table.items():
            if not 0 <= kind.code <= 255:
                raise ConfigError(f"code {kind.code} is out of range 0-255", where=f"events.kinds.{name}")
            if kind.code in seen:
                raise ConfigError(f"code {kind.code} is taken by {seen[kind.code]!r}", where=f"events.kinds.{name}")
            seen[kind.code] = name

    def name(self, code: int) -> str:
        return next((name for name, kind in self.table.items() if kind.code == code), f"kind-{code}")

    def weigh(self, owner: Rows, item: Rows, kind: NDArray[np.uint8], value: Scores) -> Scores:
        """(E,) what each event says about its item; of one owner, item and kind the earliest `cap` count, later ones 0.

        Nothing else that an owner did with an item they dislike counts. Rows are in time order. The training window and
        the history of a request are both weighed here and nowhere else.
        """
        return _kernels.weigh(owner, item, kind, value, *self._by_code)

    @cached_property
    def _by_code(self) -> tuple[Scores, Scores, NDArray[np.int64]]:
        """Weight, least and cap of every code, (256,) each."""
        weight, least, cap = np.zeros(256, np.float32), np.full(256, -np.inf, np.float32), np.zeros(256, np.int64)
        for each in self.table.values():
            weight[each.code], least[each.code], cap[each.code] = each.weight, each.least, each.cap
        return weight, least, cap


DEFAULT_KINDS: Mapping[str, Kind] = {
    "view": Kind(0, 0.0),
    "click": Kind(1, 1.0, 5),
    "rate": Kind(2, 1.0, 1),
    "like": Kind(3, 2.0, 1),
    "cart": Kind(4, 2.0, 5),
    "buy": Kind(5, 3.0, 5),
    "hide": Kind(6, -1.0, 1),
    "shown": Kind(7, 0.0),
}


@dataclass(frozen=True)
class Dataset:
    """Events of a window in time order, with the catalog facts a model may learn from. Rows are catalog rows."""

    events: Events  # sorted by time; ties keep their order of arrival
    n_users: int
    n_items: int
    kinds: Kinds = field(default_factory=Kinds)
    users: Columns = field(default_factory=dict)  # (U,) facts by user row
    items: Columns = field(default_factory=dict)  # (I,) facts by item row
    now: int = 0  # microseconds: the end of the window, "today" for decays
    offset: str = ""  # in the log, after the last event that was read; empty = not from a log

    @staticmethod
    def of(
        events: Events,
        n_users: int,
        n_items: int,
        *,
        kinds: Kinds | None = None,
        users: Columns | None = None,
        items: Columns | None = None,
        now: int | None = None,
    ) -> Dataset:
        """Sort by time if need be; rows outside the catalog are left out; `now` is the last event's time by default."""
        known = (events.user >= 0) & (events.user < n_users) & (events.item >= 0) & (events.item < n_items)
        if not known.all():
            events = events.take(known)
        if len(events) and np.any(events.time[1:] < events.time[:-1]):
            events = events.take(ops.stable_order(events.time))
        end = int(events.time[-1]) if len(events) else 0
        return Dataset(
            events, n_users, n_items, kinds or Kinds(), users or {}, items or {}, end if now is None else now
        )

    def __len__(self) -> int:
        return len(self.events)

    @cached_property
    def weight(self) -> Scores:  # (E,)
        """What each event says about its item, repeats beyond a kind's cap counting 0 (the earliest count)."""
        events = self.events
        return self.kinds.weigh(events.user, events.item, events.kind, events.value)

    @cached_property
    def matrix(self) -> csr_array:
        """(U, I) float32: summed weight of what each user liked. Pairs whose sum is not positive are absent."""
        from scipy.sparse import csr_array

        said = self.sequences.where(self.sequences["weight"] != 0)
        matrix = csr_array((said["weight"], said["item"], said.ptr), shape=(self.n_users, self.n_items))
        matrix.sum_duplicates()
        matrix.data[matrix.data < 0] = 0
        matrix.eliminate_zeros()
        return matrix

    @cached_property
    def ratings(self) -> csr_array:
        """(U, I) float32: the last value each user gave each item with an event of the kind "rate"."""
        from scipy.sparse import csr_array

        rate = self.kinds.table.get("rate")
        rated = self.events.take(self.events.kind == rate.code if rate else np.zeros(len(self), np.bool_))
        order, begins = ops.grouped(rated.user, rated.item)
        last = order[np.append(begins[1:], np.ones(min(1, len(order)), np.bool_))]
        ptr = _pointers(rated.user[last], self.n_users)
        return csr_array((rated.value[last], rated.item[last], ptr), shape=(self.n_users, self.n_items))

    @cached_property
    def sequences(self) -> Ragged:
        """For each user, oldest first: the columns of types.HISTORY. All events, weight 0 included."""
        order = ops.stable_order(self.events.user)
        return Ragged(
            _pointers(self.events.user, self.n_users),
            {
                "item": self.events.item[order],
                "kind": self.events.kind[order],
                "value": self.events.value[order],
                "weight": self.weight[order],
                "time": self.events.time[order],
            },
        )

    def histories(self, users: Rows) -> Ragged:
        """The sequences of `users` (B,); -1 and rows beyond the window give an empty list."""
        known = (users >= 0) & (users < self.n_users)
        positions = np.where(known, users, 0)
        lists = self.sequences.take(positions)
        return lists if known.all() else lists.where(known[lists.owner])

    def before(self, time: int) -> Dataset:
        """The events strictly before `time`, with `now` set to it."""
        cut = int(np.searchsorted(self.events.time, time, side="left"))
        return replace(self, events=self.events.take(np.arange(cut)), now=time)

    def only(self, mask: NDArray[np.bool_]) -> Dataset:
        """The events where `mask` (E,) is true."""
        return replace(self, events=self.events.take(mask))


def _pointers(row: Rows, rows: int) -> NDArray[np.int64]:
    """(R + 1,) where each row's entries begin when they are in order of rows."""
    return np.concatenate(([0], np.cumsum(np.bincount(row, minlength=rows)))).astype(np.int64)


def rows_of(matrix: csr_array) -> Ragged:
    """The rows of a sparse matrix as lists of "item" (the column) and "score": what models keep and kernels read."""
    columns = {"item": matrix.indices.astype(np.int32, copy=False), "score": matrix.data.astype(np.float32, copy=False)}
    return Ragged(matrix.indptr.astype(np.int64), columns)
