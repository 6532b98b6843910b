"""The nouns that travel between components: columns, not objects.

Shapes: B queries, N candidate rows, E events, U users, I items, D vector width. Arrays are named in the singular.
A *row* is an int32 index into the catalog, -1 when unknown; an *id* is the caller's string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ShapeError

T = TypeVar("T")

Rows: TypeAlias = NDArray[np.int32]  # catalog rows, -1 = unknown
Scores: TypeAlias = NDArray[np.float32]  # one number per row, NaN = no opinion
Vectors: TypeAlias = NDArray[np.float32]  # (R, D)
Mask: TypeAlias = NDArray[np.bool_]
Positions: TypeAlias = NDArray[np.intp]
Column: TypeAlias = NDArray[Any]
Columns: TypeAlias = Mapping[str, Column]  # all of the same length

NO_COLUMNS: Columns = {}


def _check_columns(owner: str, columns: Columns, length: int) -> None:
    for name, column in columns.items():
        if len(column) != length:
            raise ShapeError(f"{owner}: column {name!r} has {len(column)} rows, expected {length}")


@dataclass(frozen=True, slots=True)
class Ragged:
    """Many lists stored end to end: list b is rows ptr[b]:ptr[b + 1] of every column."""

    ptr: NDArray[np.int64]  # (B + 1,)
    columns: Columns  # each (H, ...), H = ptr[-1]

    def __post_init__(self) -> None:
        if len(self.ptr) < 1 or self.ptr[0] != 0:
            raise ShapeError("Ragged: ptr must start with 0 and have one entry more than there are lists")
        _check_columns("Ragged", self.columns, int(self.ptr[-1]))

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    @property
    def length(self) -> NDArray[np.int64]:  # (B,)
        return self.ptr[1:] - self.ptr[:-1]

    @property
    def owner(self) -> Rows:  # (H,) the list each row belongs to
        return np.arange(len(self), dtype=np.int32).repeat(self.length)

    def take(self, positions: NDArray[np.integer[Any]]) -> Ragged:
        """The lists at `positions` (M,), in that order."""
        length = self.length[positions]
        ptr = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
        inner = np.arange(ptr[-1]) + np.repeat(self.ptr[positions] - ptr[:-1], length)
        return Ragged(ptr, {name: column[inner] for name, column in self.columns.items()})

    def where(self, mask: Mask) -> Ragged:
        """Only the rows where `mask` (H,) is true; lists may become empty."""
        kept = np.concatenate(([0], np.cumsum(mask, dtype=np.int64)))
        return Ragged(kept[self.ptr], {name: column[mask] for name, column in self.columns.items()})

    def last(self, count: int) -> Ragged:
        """At most the last `count` rows of each list."""
        if not len(self) or self.length.max(initial=0) <= count:
            return self
        rank = self.ptr[1:][self.owner] - np.arange(int(self.ptr[-1]))  # 1 = newest
        return self.where(rank <= count)

    def check_items(self, width: int) -> None:
        """ShapeError unless ptr never falls and every "item" is in [0, width): models are checked when they are made,
        because kernels do not look at a whole matrix again."""
        item = self.columns["item"]
        if np.any(self.ptr[1:] < self.ptr[:-1]):
            raise ShapeError("Ragged: ptr must not fall")
        if len(item) and not (item.min() >= 0 and item.max() < width):
            raise ShapeError(f"Ragged: items must be in 0 .. {width - 1}, found {item.min()} .. {item.max()}")

    @staticmethod
    def of(lists: Sequence[Mapping[str, Any]], columns: Mapping[str, Any]) -> Ragged:
        """From Python lists (tests, doors): `columns` maps each name to its dtype."""
        first = next(iter(columns))
        length = [len(each[first]) for each in lists]
        ptr = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
        return Ragged(
            ptr,
            {
                name: np.concatenate([np.asarray(each[name], dtype) for each in lists] or [np.empty(0, dtype)])
                for name, dtype in columns.items()
            },
        )


HISTORY: Mapping[str, Any] = {
    "item": np.int32,
    "kind": np.uint8,
    "value": np.float32,
    "weight": np.float32,
    "time": np.int64,
}
"""Columns of Queries.history and Queries.context. `weight` is how much the event speaks for the item (0 = seen, nothing
more), computed by `dataset.Kinds` in one place for training and for serving."""


def empty_history(lists: int) -> Ragged:
    """`lists` empty lists with the columns of a history."""
    return Ragged(np.zeros(lists + 1, np.int64), {name: np.empty(0, dtype) for name, dtype in HISTORY.items()})


def empty_items(lists: int) -> Ragged:
    """`lists` empty lists of items."""
    return Ragged(np.zeros(lists + 1, np.int64), {"item": np.empty(0, np.int32)})


@dataclass(frozen=True, slots=True)
class Events:
    """What happened, in columns. The only source of truth."""

    user: Rows  # (E,)
    item: Rows  # (E,)
    kind: NDArray[np.uint8]  # (E,) code of the kind, see dataset.Kinds
    value: Scores  # (E,) rating, seconds, price; 1 when it has no meaning
    time: NDArray[np.int64]  # (E,) microseconds since 1970, UTC
    request: NDArray[np.uint64]  # (E,) the reply that caused it, 0 = none
    id: NDArray[np.uint64]  # (E, 2) 128-bit event id: equal id, one effect
    columns: Columns = field(default_factory=dict)  # optional context, (E, ...)

    def __post_init__(self) -> None:
        own = {name: getattr(self, name) for name in ("item", "kind", "value", "time", "request", "id")}
        _check_columns("Events", {**own, **self.columns}, len(self.user))

    def __len__(self) -> int:
        return len(self.user)

    def take(self, positions: NDArray[Any]) -> Events:
        """The events at `positions`: (M,) integers or an (E,) mask."""
        return Events(
            self.user[positions],
            self.item[positions],
            self.kind[positions],
            self.value[positions],
            self.time[positions],
            self.request[positions],
            self.id[positions],
            {name: column[positions] for name, column in self.columns.items()},
        )

    @staticmethod
    def concat(parts: Sequence[Events]) -> Events:
        """End to end, in order; context columns that only some parts have are dropped."""
        if not parts:
            return Events.empty()
        shared = set(parts[0].columns).intersection(*(part.columns for part in parts))

        def joined(name: str) -> Column:
            return np.concatenate([getattr(part, name) for part in parts])

        return Events(
            joined("user"),
            joined("item"),
            joined("kind"),
            joined("value"),
            joined("time"),
            joined("request"),
            joined("id"),
            {name: np.concatenate([part.columns[name] for part in parts]) for name in sorted(shared)},
        )

    @staticmethod
    def empty() -> Events:
        return Events(
            np.empty(0, np.int32),
            np.empty(0, np.int32),
            np.empty(0, np.uint8),
            np.empty(0, np.float32),
            np.empty(0, np.int64),
            np.empty(0, np.uint64),
            np.empty((0, 2), np.uint64),
        )


@dataclass(frozen=True, slots=True)
class Queries:
    """A batch of B questions."""

    user: Rows  # (B,) -1 = someone we have never seen
    history: Ragged  # B lists, oldest first, columns of HISTORY
    context: Ragged  # B lists, columns of HISTORY: items in view, in the cart
    exclude: Ragged  # B lists of "item": never to be proposed (seen, blocked, asked for)
    allowed: Mask  # (A,) by item row, shared by the batch; rows at or beyond A are allowed. (0,) = everything is
    time: NDArray[np.int64]  # (B,) microseconds: now, for this question
    seed: NDArray[np.uint64]  # (B,) chance comes from here and nowhere else
    columns: Columns = field(default_factory=dict)  # user and request facts, (B, ...)
    notes: dict[tuple[int, str], tuple[object, Any]] = field(
        init=False, default_factory=dict, repr=False, compare=False
    )  # of `once`; a question with another history, made by `replace`, begins without

    def __post_init__(self) -> None:
        _check_columns(
            "Queries",
            {
                "history": self.history.ptr[1:],
                "context": self.context.ptr[1:],
                "exclude": self.exclude.ptr[1:],
                "time": self.time,
                "seed": self.seed,
                **self.columns,
            },
            len(self.user),
        )

    def __len__(self) -> int:
        return len(self.user)

    def once(self, owner: object, name: str, work: Callable[[], T]) -> T:
        """What `work` says of these people's history and context, worked out for `owner` only the first time.

        For what a model needs both to propose and to score. The result is shared: nobody may change it.
        """
        key = (id(owner), name)
        if key not in self.notes:
            self.notes[key] = (owner, work())  # with its owner, so that the id stays taken
        result: T = self.notes[key][1]
        return result

    def take(self, positions: NDArray[np.integer[Any]]) -> Queries:
        """The questions at `positions` (M,), in that order."""
        return Queries(
            self.user[positions],
            self.history.take(positions),
            self.context.take(positions),
            self.exclude.take(positions),
            self.allowed,
            self.time[positions],
            self.seed[positions],
            {name: column[positions] for name, column in self.columns.items()},
        )

    @staticmethod
    def of(
        user: NDArray[Any] | Sequence[int],
        *,
        history: Ragged | None = None,
        context: Ragged | None = None,
        exclude: Ragged | None = None,
        allowed: Mask | None = None,
        time: NDArray[np.int64] | int = 0,
        seed: NDArray[np.uint64] | int = 0,
        columns: Columns = NO_COLUMNS,
    ) -> Queries:
        """Questions with everything else empty; `time` and `seed` may be one number for all."""
        rows = np.asarray(user, np.int32)
        return Queries(
            rows,
            history or empty_history(len(rows)),
            context or empty_history(len(rows)),
            exclude or empty_items(len(rows)),
            np.empty(0, np.bool_) if allowed is None else allowed,
            np.full(len(rows), time, np.int64),
            np.full(len(rows), seed, np.uint64),
            columns,
        )

    def given(self, name: str, default: float) -> NDArray[np.float64]:
        """(B,) the column `name`; `default` where there is none, or NaN."""
        if name not in self.columns:
            return np.full(len(self), default, np.float64)
        column = np.asarray(self.columns[name], np.float64)
        return np.where(np.isnan(column), default, column)

    def with_exclude(self, more: Ragged) -> Queries:
        """`more` (B lists of "item") joined to what is excluded already."""
        if not len(more["item"]):
            return self
        item = np.concatenate((self.exclude["item"], more["item"]))
        if len(self) > 1:
            item = item[np.argsort(np.concatenate((self.exclude.owner, more.owner)), kind="stable")]
        return self._limited(Ragged(self.exclude.ptr + more.ptr, {"item": item}), self.allowed)

    def with_allowed(self, mask: Mask) -> Queries:
        """Only what both the present mask and `mask` allow; the shorter is taken to allow what lies beyond it."""
        if not len(mask):
            return self
        if not len(self.allowed):
            return self._limited(self.exclude, mask)
        size = max(len(self.allowed), len(mask))
        both = np.ones(size, np.bool_)
        both[: len(self.allowed)] &= self.allowed
        both[: len(mask)] &= mask
        return self._limited(self.exclude, both)

    def _limited(self, exclude: Ragged, allowed: Mask) -> Queries:
        """The same questions; what was worked out for them holds."""
        asked = (self.user, self.history, self.context, exclude, allowed, self.time, self.seed)
        limited = Queries(*asked, self.columns)
        object.__setattr__(limited, "notes", self.notes)
        return limited


@dataclass(frozen=True, slots=True)
class Candidates:
    """A flat table of N rows, sorted by query. The slate is the same type, shorter."""

    query: Rows  # (N,) non-decreasing, in [0, B)
    item: Rows  # (N,)
    columns: Columns = field(default_factory=dict)  # (N, ...) source scores, features, "score"

    def __post_init__(self) -> None:
        _check_columns("Candidates", {"item": self.item}, len(self.query))
        _check_columns("Candidates", self.columns, len(self.query))

    def __len__(self) -> int:
        return len(self.query)

    def take(self, positions: NDArray[Any]) -> Candidates:
        """Rows at `positions`: (M,) integers or an (N,) mask."""
        return Candidates(
            self.query[positions],
            self.item[positions],
            {name: column[positions] for name, column in self.columns.items()},
        )

    def with_columns(self, columns: Columns) -> Candidates:
        """The same rows with more columns; a name given again is replaced."""
        return Candidates(self.query, self.item, {**self.columns, **columns})

    @staticmethod
    def concat(parts: Sequence[Candidates]) -> Candidates:
        """End to end, sorted by query (stable); a column that a part lacks is NaN there."""
        parts = [part for part in parts if len(part)] or list(parts[:1])
        if not parts:
            return Candidates.empty()
        names = list(dict.fromkeys(name for part in parts for name in part.columns))
        query = np.concatenate([part.query for part in parts])
        joined = Candidates(
            query,
            np.concatenate([part.item for part in parts]),
            {name: np.concatenate([_column_or_nan(part, name, parts) for part in parts]) for name in names},
        )
        if len(parts) == 1 or bool(np.all(query[1:] >= query[:-1])):
            return joined
        return joined.take(np.argsort(query, kind="stable"))

    @staticmethod
    def empty() -> Candidates:
        return Candidates(np.empty(0, np.int32), np.empty(0, np.int32), {"score": np.empty(0, np.float32)})


def _column_or_nan(part: Candidates, name: str, parts: Sequence[Candidates]) -> Column:
    if name in part.columns:
        return part.columns[name]
    like = next(other.columns[name] for other in parts if name in other.columns)
    if like.dtype == np.bool_:
        return np.zeros((len(part), *like.shape[1:]), np.bool_)
    if np.issubdtype(like.dtype, np.integer):
        return np.full((len(part), *like.shape[1:]), -1, like.dtype)
    return np.full((len(part), *like.shape[1:]), np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something happened: a sentence with gaps in braces, and the facts that fill them.

    A fact is text, a number, a truth or a tuple of texts; by its dtype np.int64 is a time, np.int32 an item row and
    np.uint8 a kind of event, which the doors write as people read them.
    """

    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One addend of a score: weight · value, for each row."""

    name: str
    value: Scores  # (N,)
    weight: Scores  # (N,)


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """What an index tells of one of its spaces."""

    name: str
    rows: int
    width: int  # numbers of a vector
    metric: str  # inner | cosine
    kind: str  # of search
    recall: float  # share of the true nearest that it found when it was built; 1 = exact
    floor: float  # that recall must not fall under
