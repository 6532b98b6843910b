"""Index by exact inner product: one matrix product and a cut."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import failpoints, ops
from shortlist.errors import DataError, NotFound, ShapeError, StoreError
from shortlist.stores.arrays import save
from shortlist.stores.database import Database, explained
from shortlist.types import Candidates, Rows, Scores, Vectors, empty_items

BLOCK = 1 << 22  # scores computed at once: 16 MB
EVERYTHING = np.empty(0, np.bool_)


class ExactIndex:
    """Vectors in memory, searched in full. A build is written as .npy files, upserts and removals as they come."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.close = database.close  # of the whole folder
        self._spaces: dict[str, _Space] = {}
        self.refresh()
        database.sweep("index", [space.folder for space in self._spaces.values()])

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
            for name in [name for name in self._spaces if folders.get(name) != self._spaces[name].folder]:
                del self._spaces[name]
            for name, folder in folders.items():
                if name not in self._spaces:
                    self._spaces[name] = _Space.load(self._database.folder / "index" / folder)
                space = self._spaces[name]
                for seq, rows, vectors in sql.execute(
                    "SELECT seq, rows, vectors FROM vector WHERE space = ? AND seq > ? ORDER BY seq", (name, space.seq)
                ):
                    space.apply(np.frombuffer(rows, np.int32), vectors, seq)

    def build(self, space: str, rows: Rows, vectors: Vectors) -> None:
        """Put these in the place of the whole space. Of a row that is given twice the last vector holds."""
        rows, vectors = _checked(space, rows, vectors)
        with self._database.lock:
            with self._database.read() as sql:
                row = sql.execute("SELECT value FROM meta WHERE key = 'index.folder'").fetchone()
            folder = str(int(row[0]) + 1 if row else 1)
            with self._database.new(f"index/{folder}") as path:
                path.mkdir()
                save(path / "row.npy", rows)
                save(path / "vector.npy", vectors)
            failpoints.at("index.written")
            with self._database.write() as sql:
                sql.execute("INSERT OR REPLACE INTO meta VALUES ('index.folder', ?)", (folder,))
                sql.execute("INSERT OR REPLACE INTO space VALUES (?, ?)", (space, folder))
                sql.execute("DELETE FROM vector WHERE space = ?", (space,))
            failpoints.at("index.named")
            self._spaces[space] = _Space(folder, rows, vectors)
            self._sweep()

    def upsert(self, space: str, rows: Rows, vectors: Vectors) -> None:
        """Add or replace; a space that does not exist is made."""
        held = self._spaces.get(space)
        if held is None:
            self.build(space, rows, vectors)
            return
        rows, vectors = _checked(space, rows, vectors)
        held.check(space, vectors)
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

    def search(self, space: str, vectors: Vectors, k: int) -> tuple[Rows, Scores]:
        """The k best rows of each vector (B, D), best first; a vector with NaN finds nothing."""
        held = self._spaces.get(space)
        if held is None:
            known = ", ".join(sorted(self._spaces)) or "none"
            raise NotFound(f"the index has no space {space!r}", hint=f"Build it first; there is: {known}.")
        held.check(space, vectors)
        return held.search(vectors.astype(np.float32, copy=False), max(k, 0))

    def _change(self, name: str, space: _Space, rows: Rows, vectors: bytes | None) -> None:
        with self._database.lock:
            with self._database.write() as sql:
                statement = "INSERT INTO vector (space, rows, vectors) VALUES (?, ?, ?)"
                seq = sql.execute(statement, (name, rows.tobytes(), vectors)).lastrowid
            failpoints.at("index.changed")
            space.apply(rows, vectors, int(seq or 0))

    def _sweep(self) -> None:
        self._database.sweep("index", [space.folder for space in self._spaces.values()])


class _Space:
    """One space in memory. A removed row leaves a place marked -1, which the next one may take."""

    def __init__(self, folder: str, rows: Rows, vectors: Vectors) -> None:
        self.folder = folder
        self.seq = 0  # the last change that is in memory
        self._lock = threading.Lock()
        self._vectors = np.empty((0, vectors.shape[1]), np.float32)
        self._rows = np.empty(0, np.int32)
        self._count = 0
        self._place: dict[int, int] = {}
        self._free: list[int] = []
        self._upsert(rows, vectors)

    @staticmethod
    def load(folder: Path) -> _Space:
        with explained(folder):
            rows: Rows = np.load(folder / "row.npy", allow_pickle=False)
            vectors: Vectors = np.load(folder / "vector.npy", allow_pickle=False)
        return _Space(folder.name, rows, vectors)

    def check(self, name: str, vectors: NDArray[Any]) -> None:
        width = self._vectors.shape[1]
        if vectors.ndim != 2 or vectors.shape[1] != width:
            raise ShapeError(
                f"space {name!r} holds vectors of {width} numbers, got shape {vectors.shape}",
                hint="Vectors of one space come from one model; the name of the space carries the release.",
            )

    def apply(self, rows: Rows, vectors: bytes | None, seq: int) -> None:
        with self._lock:
            if vectors is None:
                for row in rows.tolist():
                    place = self._place.pop(row, None)
                    if place is not None:
                        self._rows[place] = -1
                        self._free.append(place)
            else:
                self._upsert(rows, np.frombuffer(vectors, np.float32).reshape(len(rows), self._vectors.shape[1]))
            self.seq = seq

    def _upsert(self, rows: Rows, vectors: Vectors) -> None:
        places = np.empty(len(rows), np.int64)
        for at, row in enumerate(rows.tolist()):
            place = self._place.get(row)
            if place is None:
                if self._free:
                    place = self._free.pop()
                else:
                    place = self._count
                    self._count += 1
                self._place[row] = place
            places[at] = place
        if self._count > len(self._rows):
            size = max(self._count, 2 * len(self._rows))
            wide = np.zeros((size, self._vectors.shape[1]), np.float32)
            wide[: len(self._vectors)] = self._vectors
            self._rows = np.concatenate((self._rows, np.full(size - len(self._rows), -1, np.int32)))
            self._vectors = wide
        self._vectors[places] = vectors
        self._rows[places] = rows

    def search(self, vectors: Vectors, k: int) -> tuple[Rows, Scores]:
        with self._lock:
            rows, held = self._rows[: self._count], self._vectors[: self._count]
        best = Candidates.empty()
        step = max(1, BLOCK // max(1, len(vectors)))
        for start in range(0, len(rows), step):
            score = vectors @ held[start : start + step].T
            score[:, rows[start : start + step] < 0] = np.nan
            part = ops.top_of_matrix(score, k, empty_items(len(score)), EVERYTHING)
            part = Candidates(part.query, rows[start + part.item], {"score": part.columns["score"]})
            best = Candidates.concat([best, part]) if start else part
            best = best.take(ops.topk(best.query, best.columns["score"], k, len(vectors))) if start else best
        found = np.full((len(vectors), k), -1, np.int32)
        scores = np.full((len(vectors), k), np.nan, np.float32)
        column = np.arange(len(best)) - ops.pointers(best.query, len(vectors))[:-1][best.query]
        found[best.query, column] = best.item
        scores[best.query, column] = best.columns["score"]
        return found, scores


def _checked(space: str, rows: Rows, vectors: Vectors) -> tuple[Rows, Vectors]:
    rows, vectors = np.asarray(rows, np.int32), np.ascontiguousarray(vectors, np.float32)
    if vectors.ndim != 2 or len(vectors) != len(rows):
        raise ShapeError(f"space {space!r}: vectors of shape {vectors.shape} for {len(rows)} rows")
    if len(rows) and rows.min() < 0:
        raise ShapeError(f"space {space!r}: row {rows.min()} is not a catalog row")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"space {space!r}: the vector of row {rows[bad[0]]} is not finite",
            hint="Train again or leave that row out; a NaN would spread into every list.",
        )
    return rows, vectors
