"""Who was erased, and how far that has come: a keyed hash stays, so that nobody brings the person back by accident."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.stores.database import Database


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. `id` is the person's until every store was searched, `done` is set when that is on disk."""

    operation: str  # the keyed hash, hexadecimal
    row: int  # the row that the person had, -1 = none
    asked: int  # microseconds
    id: str | None
    done: int | None
    proof: Mapping[str, int]  # by store, what was removed


class Erasures:
    """The table of erasures in one database. Membership is in memory; changes are durable when they return."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._hashes: set[bytes] = set()
        self._seen = 0
        with database.read() as sql:
            found = sql.execute("SELECT value FROM meta WHERE key = 'erasure.key'").fetchone()
        self._key = bytes.fromhex(found[0]) if found else b""

    def __contains__(self, id: str) -> bool:
        return bool(self._hashes) and self._hash(id) in self._hashes

    def refresh(self, sql: Any) -> list[int]:
        """See what another connection has added; the rows of those people."""
        if not self._key and (found := sql.execute("SELECT value FROM meta WHERE key = 'erasure.key'").fetchone()):
            self._key = bytes.fromhex(found[0])
        new = sql.execute("SELECT seq, hash, row FROM erasure WHERE seq > ? ORDER BY seq", (self._seen,)).fetchall()
        if new:
            self._hashes.update(hash for _, hash, _ in new)
            self._seen = new[-1][0]
        return [row for _, _, row in new if row >= 0]

    def begin(self, sql: Any, id: str, row: int, now: int, proof: Mapping[str, int]) -> None:
        """Write the tombstone as a part of the transaction `sql`; `refresh` afterwards."""
        if not self._key:
            self._key = secrets.token_bytes(32)
            sql.execute("INSERT INTO meta VALUES ('erasure.key', ?)", (self._key.hex(),))
        sql.execute(
            "INSERT INTO erasure (hash, row, asked, id, proof) VALUES (?, ?, ?, ?, ?)",
            (self._hash(id), row, now, id, json.dumps(proof)),
        )

    def find(self, id: str) -> Erasure | None:
        """The erasure of the person with this id."""
        return next(iter(self._select("hash = ?", self._hash(id))), None) if self._key else None

    def get(self, operation: str) -> Erasure | None:
        try:
            return next(iter(self._select("hash = ?", bytes.fromhex(operation))), None)
        except ValueError:
            return None

    def all(self) -> list[Erasure]:
        """In the order in which they were asked for."""
        return self._select("1")

    def pending(self) -> list[Erasure]:
        return self._select("done IS NULL")

    def searched(self, operation: str, proof: Mapping[str, int]) -> None:
        """Every place was searched: the id itself goes now."""
        self._update("id = NULL, proof = ?", json.dumps(proof), operation)

    def finish(self, operation: str, now: int) -> None:
        self._update("done = ?", now, operation)

    def lift(self, id: str) -> bool:
        """Let the id be made again, as a new person; false when it was not erased, or that is still going on."""
        with self._database.lock:
            erasure = self.find(id)
            if erasure is None or erasure.done is None:
                return False
            with self._database.write() as sql:
                sql.execute("DELETE FROM erasure WHERE hash = ?", (self._hash(id),))
            self._hashes.discard(self._hash(id))
        return True

    def _select(self, condition: str, *values: Any) -> list[Erasure]:
        with self._database.read() as sql:
            rows = sql.execute(
                f"SELECT hash, row, asked, id, done, proof FROM erasure WHERE {condition} ORDER BY seq", values
            ).fetchall()
        return [
            Erasure(hash.hex(), row, asked, id, done, json.loads(proof or "{}"))
            for hash, row, asked, id, done, proof in rows
        ]

    def _update(self, change: str, value: Any, operation: str) -> None:
        with self._database.write() as sql:
            sql.execute(f"UPDATE erasure SET {change} WHERE hash = ?", (value, bytes.fromhex(operation)))

    def _hash(self, id: str) -> bytes:
        return hashlib.blake2b(id.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()
