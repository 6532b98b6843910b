"""Small durable things beside the four roles: words by key, and events that wait for their item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from shortlist import failpoints
from shortlist.stores.database import Database
from shortlist.types import Mask


class Meta:
    """Text by key, durable when `set` returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str, default: str = "") -> str:
        with self._database.read() as sql:
            row = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else default

    def set(self, key: str, value: str) -> None:
        with self._database.write() as sql:
            sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def once(self, key: str, value: str) -> str:
        """What the key holds; `value` if that was nothing. When reading beside a writer, nothing stays nothing."""
        held = self.get(key)
        if not held and not self._database.read_only:
            with self._database.write() as sql:
                sql.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, value))
            held = self.get(key)
        return held or value

    def items(self, prefix: str) -> dict[str, str]:
        """Everything whose key begins with `prefix`, which ends with a dot; by the rest of the key, sorted."""
        with self._database.read() as sql:
            found = sql.execute(
                "SELECT substr(key, ?), value FROM meta WHERE key > ? AND key < ? ORDER BY key",
                (len(prefix) + 1, prefix, f"{prefix[:-1]}/"),  # a slash comes right after a dot
            )
            return {str(key): str(value) for key, value in found}

    def drop(self, keys: Sequence[str]) -> None:
        with self._database.write() as sql:
            sql.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in keys])


_OWN = "json_extract(event, '$.user') = ?"


class Held:
    """Events whose item is not known yet, as the text that came, in order of arrival."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __len__(self) -> int:
        with self._database.read() as sql:
            return int(sql.execute("SELECT count(*) FROM held").fetchone()[0])

    def add(self, items: Sequence[str], events: Sequence[str]) -> Mask:
        """(E,) true where the text was not held for that item id already. Durable when it returns."""
        with self._database.write() as sql:
            added = [
                sql.execute("INSERT OR IGNORE INTO held (item, event) VALUES (?, ?)", pair).rowcount == 1
                for pair in zip(items, events, strict=True)
            ]
        return np.array(added, np.bool_)

    def count(self) -> dict[str, int]:
        """How many wait for each item id, most first."""
        with self._database.read() as sql:
            found = sql.execute("SELECT item, count(*) FROM held GROUP BY item ORDER BY count(*) DESC, item")
            return {str(item): int(count) for item, count in found}

    def all(self, after: int = 0) -> list[tuple[int, str]]:
        """What waits, in order of arrival, each with its number; numbers up to `after` are left out."""
        with self._database.read() as sql:
            return list(sql.execute("SELECT seq, event FROM held WHERE seq > ? ORDER BY seq", (after,)))

    def of(self, user: str) -> list[str]:
        """What waits that this user did."""
        with self._database.read() as sql:
            return [text for (text,) in sql.execute(f"SELECT event FROM held WHERE {_OWN} ORDER BY seq", (user,))]

    def remove(self, user: str) -> int:
        """Forget what this user did; how much that was."""
        with self._database.write() as sql:
            return int(sql.execute(f"DELETE FROM held WHERE {_OWN}", (user,)).rowcount)

    def retain(self, oldest: Mapping[str, int]) -> int:
        """Forget what happened before `oldest` of its kind says (microseconds); how much that was."""
        old = "json_extract(event, '$.kind') = ? AND json_extract(event, '$.time') < ?"
        with self._database.write() as sql:
            return sum(sql.execute(f"DELETE FROM held WHERE {old}", each).rowcount for each in oldest.items())

    @contextmanager
    def take_for(self, items: Sequence[str]) -> Iterator[list[str]]:
        """What waits for these items; forgotten when the block ends well, but for what it took out of the list.

        Append inside the block: should the process die between the append and the forgetting, the texts are taken once
        more, and their event ids keep the second append without effect.
        """
        with self._database.read() as sql:
            rows = [
                row
                for item in dict.fromkeys(items)
                for row in sql.execute("SELECT seq, event FROM held WHERE item = ?", (item,))
            ]
        rows.sort()
        waiting = [event for _, event in rows]
        yield waiting
        if waiting:
            failpoints.at("held.appended")
            happened = set(waiting)
            with self._database.write() as sql:
                sql.executemany("DELETE FROM held WHERE seq = ?", [(seq,) for seq, event in rows if event in happened])
