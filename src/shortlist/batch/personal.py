"""Everything that is kept about one person, place by place: shown for an export, taken away by an erasure.

An erasure begins with the catalogue, which makes the person unknown at once (`Catalog.erase`). The places here are what
remains: each can be shown, and emptied as often as one likes. A new kind of record about people is a new place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from shortlist.dataset import Kinds
from shortlist.protocols import Catalog, EventLog, State
from shortlist.types import Events, Rows


@dataclass(frozen=True, slots=True)
class Person:
    """Whom it is about: the id, and the row that it has or had (-1 = none)."""

    id: str
    row: int

    @property
    def rows(self) -> Rows:
        return np.array([self.row] if self.row >= 0 else [], np.int32)


class Place(Protocol):
    """One kind of record about people."""

    def show(self, person: Person) -> list[Any]: ...  # as JSON, one entry a thing

    def erase(self, people: Sequence[Person]) -> list[int]: ...  # how many things of each went; durable


@dataclass(frozen=True)
class InLog:
    """What a person did."""

    log: EventLog
    catalog: Catalog
    kinds: Kinds

    def show(self, person: Person) -> list[Any]:
        found: list[Any] = []
        for _, batch in self.log.scan() if person.row >= 0 else ():
            mine = batch.user == person.row
            if mine.any():
                found += self._told(batch.take(mine))
        return found

    def erase(self, people: Sequence[Person]) -> list[int]:
        counts = self.log.erase(np.array([person.row for person in people], np.int32))
        return [int(count) for count in counts]

    def _told(self, events: Events) -> list[Any]:
        items = self.catalog.ids("item", events.item)
        return [
            {
                "item_id": items[at],
                "type": self.kinds.name(int(events.kind[at])),
                "value": plain(events.value[at]),
                "time_us": int(events.time[at]),
                "request": int(events.request[at]),
                "event_id": f"{events.id[at, 0]:016x}{events.id[at, 1]:016x}",
                "context": {name: plain(column[at]) for name, column in events.columns.items()},
            }
            for at in range(len(events))
        ]


@dataclass(frozen=True)
class InState:
    """What was folded from it: the columns and lists of the table "user". `settle` changes the state while nothing
    is folded, and writes it out."""

    state: State
    settle: Callable[[Callable[[State], Any]], Any]

    def show(self, person: Person) -> list[Any]:
        columns, lists = self.state.names("user")
        found: list[Any] = []
        for name, column in self.state.read("user", person.rows, columns).items():
            found += [{"column": name, "value": plain(value)} for value in np.ravel(column) if not np.isnan(value)]
        for name in lists:
            entries = self.state.lists("user", name, person.rows)
            rows = zip(*(column.tolist() for column in entries.columns.values()), strict=True)
            found += [{"list": name, **dict(zip(entries.columns, map(plain, row), strict=True))} for row in rows]
        return found

    def erase(self, people: Sequence[Person]) -> list[int]:
        counts: list[int] = self.settle(lambda state: [state.erase("user", person.rows) for person in people])
        return counts


class Waiting(Protocol):
    """Events that wait for their item, by whose they are."""

    def of(self, user: str) -> list[str]: ...

    def remove(self, user: str) -> int: ...


@dataclass(frozen=True)
class InHeld:
    """What a person did to items that nobody knows yet."""

    held: Waiting

    def show(self, person: Person) -> list[Any]:
        return [json.loads(text) for text in self.held.of(person.id)]

    def erase(self, people: Sequence[Person]) -> list[int]:
        return [self.held.remove(person.id) for person in people]


@dataclass(frozen=True)
class InRejects:
    """Rows that could not be loaded. One whose owner could not be read goes when the id stands in it as a word; it is
    not shown, because it may be somebody else's."""

    folder: Path

    def show(self, person: Person) -> list[Any]:
        found = []
        for path in self._files():
            for line in _lines(path):
                if _whose(line, person):
                    reject = json.loads(line)
                    found.append(reject if reject.get("user") else {"file": reject["file"], "line": reject["line"]})
        return found

    def erase(self, people: Sequence[Person]) -> list[int]:
        counts = [0] * len(people)
        for draft in self.folder.glob(".*.new"):  # left by a crash
            draft.unlink()
        for path in self._files():
            kept = []
            for line in _lines(path):
                owners = [at for at, person in enumerate(people) if _whose(line, person)]
                for at in owners:
                    counts[at] += 1
                if not owners:
                    kept.append(line)
            if len(kept) < len(_lines(path)):
                _replace(path, kept)
        return counts

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))


def places(
    catalog: Catalog,
    log: EventLog,
    state: State,
    held: Waiting | None,
    kinds: Kinds,
    rejects: Path,
    settle: Callable[[Callable[[State], Any]], Any],
) -> dict[str, Place]:
    """The places of the stores, by name, in the order in which they are emptied."""
    waiting: Mapping[str, Place] = {} if held is None else {"held": InHeld(held)}
    return {
        "events": InLog(log, catalog, kinds),
        "state": InState(state, settle),
        **waiting,
        "rejects": InRejects(rejects),
    }


def facts(catalog: Catalog, person: Person) -> dict[str, Any]:
    """What the catalogue says about a person; columns without a value are left out."""
    names = catalog.names("user")
    columns = catalog.read("user", person.rows, names) if person.row >= 0 else {}
    return {name: plain(column[0]) for name, column in columns.items() if has_value(column[0])}


def has_value(value: Any) -> bool:
    """Whether a value of a catalogue column is one: "", NaN, -1 and () are not."""
    if isinstance(value, str | tuple):
        return bool(value)
    return bool(value >= 0) if isinstance(value, np.integer) else bool(value == value)


def plain(value: Any) -> Any:
    """A value of a column as JSON."""
    if isinstance(value, np.ndarray):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return list(value) if isinstance(value, tuple) else value


def _whose(line: str, person: Person) -> bool:
    reject = json.loads(line)
    if reject.get("user") is not None:
        return bool(reject["user"] == person.id)
    return re.search(rf"(?<!\w){re.escape(person.id)}(?!\w)", reject["row"]) is not None


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").split("\n")[:-1]  # every line ends with one; other breaks may stand inside


def _replace(path: Path, lines: Sequence[str]) -> None:
    """The file anew, durable; removed when no line is left."""
    if not lines:
        path.unlink()
    else:
        draft = path.with_name(f".{path.name}.new")
        with draft.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
