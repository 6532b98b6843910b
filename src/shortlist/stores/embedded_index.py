"""Index in a directory: vectors as files, changes in the database, searched in memory by a configured kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shortlist import failpoints
from shortlist.errors import NotFound, StoreError
from shortlist.stores.database import Database
from shortlist.stores.kinds import Kind
from shortlist.stores.space import EVERYTHING, Space
from shortlist.stores.vectors import checked
from shortlist.types import Mask, Ragged, Rows, Scores, SpaceFacts, Vectors, empty_items

GROWN = 10_000  # changed vectors beside a finder, or this share of all, after which the space is built again
GROWN_SHARE = 0.1


class EmbeddedIndex:
    """Vectors in memory. A build is written as files, upserts and removals as they come."""

    def __init__(self, database: Database, kind: Kind) -> None:
        self._database = database
        self._kind = kind
        self.close = database.close  # of the whole folder
        self._spaces: dict[str, Space] = {}
        self.refresh()
        if not database.read_only:
            for name, space in list(self._spaces.items()):
                if space.about.kind.built != kind.built:  # the configuration has changed
                    self._build(name, *space.held(), space.about.metric, refuse=False)
        self._sweep()

    def refresh(self) -> None:
        """See what another process has built, changed and dropped since."""
        with self._database.lock:
            while True:
                folders = self._folders()
                try:
                    self._read()
                    return
                except StoreError:  # a writer may have replaced what was about to be read
                    if self._folders() == folders:
                        raise

    def _folders(self) -> dict[str, str]:
        with self._database.read() as sql:
            return dict(sql.execute("SELECT name, folder FROM space"))

    def _read(self) -> None:
        with self._database.read() as sql:
            folders = dict(sql.execute("SELECT name, folder FROM space"))
            for name, space in list(self._spaces.items()):
                if space.folder and folders.get(name) != space.folder:
                    del self._spaces[name]
            for name, folder in folders.items():
                if name not in self._spaces or not self._spaces[name].folder:
                    self._spaces[name] = self._load(name, folder)
                space = self._spaces[name]
                for seq, rows, vectors in sql.execute(
                    "SELECT seq, rows, vectors FROM vector WHERE space = ? AND seq > ? ORDER BY seq", (name, space.seq)
                ):
                    space.apply(np.frombuffer(rows, np.int32), vectors, seq)

    def _load(self, name: str, folder: str) -> Space:
        path = self._database.folder / "index" / folder
        return Space.load(name, path, self._kind, remake=self._database.read_only)

    def build(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Put these in the place of the whole space. Of a row that is given twice the last vector holds.

        StoreError when the configured kind finds less than its floor; the space stays what it was. A reader builds
        spaces that the writer does not have in its own memory.
        """
        rows, vectors = checked(space, rows, vectors, metric)
        self._build(space, rows, vectors, metric, refuse=True)

    def _build(self, space: str, rows: Rows, vectors: Vectors, metric: str, *, refuse: bool) -> None:
        with self._database.lock:
            if self._database.read_only and space not in self._folders():
                self._spaces[space] = Space.make(space, "", self._kind, metric, rows, vectors, refuse=refuse)
                return
            with self._database.read() as sql:
                row = sql.execute("SELECT value FROM meta WHERE key = 'index.folder'").fetchone()
            folder = str(int(row[0]) + 1 if row else 1)
            made = Space.make(space, folder, self._kind, metric, rows, vectors, refuse=refuse)
            with self._database.new(f"index/{folder}") as path:
                path.mkdir()
                made.save(path)
            failpoints.at("index.written")
            with self._database.write() as sql:
                sql.execute("INSERT OR REPLACE INTO meta VALUES ('index.folder', ?)", (folder,))
                sql.execute("INSERT OR REPLACE INTO space VALUES (?, ?)", (space, folder))
                sql.execute("DELETE FROM vector WHERE space = ?", (space,))
            failpoints.at("index.named")
            self._spaces[space] = made
            self._sweep()

    def upsert(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Add or replace; a space that does not exist is made."""
        held = self._spaces.get(space)
        if held is None:
            self.build(space, rows, vectors, metric=metric)
            return
        rows, vectors = checked(space, rows, vectors, metric)
        held.check(space, vectors, metric)
        self._change(space, held, rows, vectors.tobytes())

    def remove(self, space: str, rows: Rows) -> None:
        """Rows that are not in the space, and a space that does not exist, are nobody's loss."""
        held = self._spaces.get(space)
        if held is not None:
            self._change(space, held, np.asarray(rows, np.int32), None)

    def drop(self, space: str) -> None:
        with self._database.lock:
            if space in self._spaces:
                with self._database.write() as sql:
                    sql.execute("DELETE FROM space WHERE name = ?", (space,))
                    sql.execute("DELETE FROM vector WHERE space = ?", (space,))
                failpoints.at("index.named")
                del self._spaces[space]
                self._sweep()

    def search(
        self,
        space: str,
        vectors: Vectors,
        k: int,
        *,
        metric: str = "inner",
        exclude: Ragged | None = None,
        allowed: Mask = EVERYTHING,
    ) -> tuple[Rows, Scores]:
        """The k best rows of each vector (B, D), best first; a vector with NaN finds nothing."""
        held = self._spaces.get(space)
        if held is None:
            known = ", ".join(sorted(self._spaces)) or "none"
            raise NotFound(f"the index has no space {space!r}", hint=f"Build it first; there is: {known}.")
        held.check(space, vectors, metric)
        nobody = empty_items(len(vectors)) if exclude is None else exclude
        return held.search(vectors.astype(np.float32, copy=False), max(k, 0), nobody, allowed)

    def spaces(self) -> Sequence[SpaceFacts]:
        return [space.facts(name) for name, space in sorted(self._spaces.items(), key=lambda each: each[1].order)]

    def _change(self, name: str, space: Space, rows: Rows, vectors: bytes | None) -> None:
        with self._database.lock:
            with self._database.write() as sql:
                statement = "INSERT INTO vector (space, rows, vectors) VALUES (?, ?, ?)"
                seq = sql.execute(statement, (name, rows.tobytes(), vectors)).lastrowid
            failpoints.at("index.changed")
            space.apply(rows, vectors, int(seq or 0))
            held = space.facts(name).rows
            if space.grown > max(GROWN, GROWN_SHARE * held):
                self._build(name, *space.held(), space.about.metric, refuse=False)  # the change itself is kept

    def _sweep(self) -> None:
        self._database.sweep("index", [space.folder for space in self._spaces.values()])
