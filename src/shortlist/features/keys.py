"""What is counted together: people, items, facts of theirs, hours and weekdays, or several at once, as 64-bit keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY
from shortlist.derived import kind_of
from shortlist.errors import ConfigError
from shortlist.types import Column, Ragged, Rows

START = np.uint64(0x9E3779B97F4A7C15)
THURSDAY = 3  # the weekday of 1970-01-01, Monday being 0

Lists = Callable[[str, str, Rows], Ragged]
"""(entity, name, rows (R,)) -> R lists of "code": the values of a fact; none for a row that is unknown."""


@dataclass(frozen=True, slots=True)
class Group:
    """The parts of "user * item.genres"."""

    parts: tuple[str, ...]

    def facts(self, entity: str) -> tuple[str, ...]:
        """The columns of an entity that it needs."""
        return tuple(part.partition(".")[2] for part in self.parts if part.startswith(f"{entity}."))

    @property
    def shared(self) -> bool:
        """Whether it is the same for all candidates of a query."""
        return not any(part.partition(".")[0] == "item" for part in self.parts)

    @property
    def words(self) -> tuple[str, str]:
        """What is counted, and by whom or when."""
        of = " and ".join(self.facts("item"))
        what = "" if "item" in self.parts else f"what has this {of}: " if of else "anything: "
        by = " of your ".join(("people", *self.facts("user"))) if self.facts("user") else "you"
        who = f" by {by}" if "user" in self.parts or self.facts("user") else ""
        when = " at this hour" * ("hour" in self.parts) + " on this weekday" * ("weekday" in self.parts)
        return what, who + when

    @property
    def name(self) -> str:
        return "*".join(self.parts)


@cache
def parse(group: str) -> Group:
    """Raises ConfigError for what cannot be counted by."""
    parts = tuple(part.strip() for part in group.split("*"))
    for part in parts:
        entity, dot, name = part.partition(".")
        if not ((entity in ("user", "item") and bool(name) == bool(dot)) or part in ("hour", "weekday")):
            raise ConfigError(
                f"{part!r} is nothing to count by",
                where="features.tallies: by",
                hint="user, item, hour, weekday, user.COLUMN, item.COLUMN, or several joined by *",
            )
    if len(set(parts)) < len(parts):
        raise ConfigError(f"{group!r} names a part twice", where="features.tallies: by")
    return Group(parts)


def keys(
    group: Group, user: Rows, item: Rows, time: NDArray[np.int64], lists: Lists
) -> tuple[NDArray[np.intp], NDArray[np.uint64]]:
    """(M,) twice: each row (R,) with each of its keys. A row without one of the parts has none."""
    row = np.arange(len(user))
    key = np.full(len(user), START)
    for part in group.parts:
        entity, _, name = part.partition(".")
        if name:
            values = lists(entity, name, user if entity == "user" else item).take(row)
            row, key = row[values.owner], key[values.owner]
            code = values["code"]
        else:
            number = _number(part, user, item, time)[row]
            row, key, number = row[number >= 0], key[number >= 0], number[number >= 0]
            code = number.astype(np.uint64)
        key = ops.mix(key + ops.mix(code + START))
    return row, key


def _number(part: str, user: Rows, item: Rows, time: NDArray[np.int64]) -> NDArray[np.integer]:
    if part == "hour":
        return time % DAY // (DAY // 24)
    if part == "weekday":
        return (time // DAY + THURSDAY) % 7
    return user if part == "user" else item


def codes(column: Column, name: str) -> Ragged:
    """The different values of each row of a fact as "code", the same in every process: R lists, none for no value."""
    kind = kind_of(column)
    if kind == "time":
        hint = "what is old or new is in features.recency"
        raise ConfigError(f"column {name!r} is a time, nothing to count by", where="features.tallies: by", hint=hint)
    if kind in ("text", "list"):
        known: dict[str, int] = {"": 0}
        rows = [(each,) if isinstance(each, str) else each for each in column.tolist()]
        lists = [[known.setdefault(value, _hashed(value)) for value in dict.fromkeys(row) if value] for row in rows]
        return Ragged.of([{"code": row} for row in lists], {"code": np.uint64})
    there = column >= 0 if kind == "flag" else ~np.isnan(column.astype(np.float64))
    bits = column[there].astype(np.float64).view(np.uint64)
    return Ragged(np.concatenate(([0], np.cumsum(there))).astype(np.int64), {"code": bits})


def picked(lists: Ragged, rows: Rows) -> Ragged:
    """The lists at `rows` (R,), empty where there is none."""
    known = (rows >= 0) & (rows < len(lists))
    if not len(lists):
        return Ragged(np.zeros(len(rows) + 1, np.int64), {"code": np.empty(0, np.uint64)})
    taken = lists.take(np.where(known, rows, 0))
    return taken if known.all() else taken.where(known[taken.owner])


def _hashed(value: str) -> int:
    return int.from_bytes(blake2b(value.encode(), digest_size=8, key=b"shortlist.features.keys").digest(), "big")
