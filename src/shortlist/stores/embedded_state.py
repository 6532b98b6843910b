"""State of the embedded stores: arrays in memory, a snapshot on disk, the log behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import failpoints
from shortlist.errors import ConfigError, DataError, ShapeError, StoreError
from shortlist.stores.arrays import Growing, oldest_times, save
from shortlist.stores.database import Database, explained
from shortlist.stores.lists import Lists
from shortlist.types import Columns, Ragged, Rows, Scores, empty_history

SPARE = 1_000_000  # rows of lists that may lie unused before they are packed


class EmbeddedState:
    """Keyed float64 columns, counters and bounded lists. Rows below 0 have no state: nothing is kept for them.

    Nothing is durable until `snapshot()`. `offset` says how far into the log this state has come: the one who folds
    sets it after each batch, and after opening folds `log.scan(state.offset)`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.close = database.close  # of the whole folder
        self._lock = threading.Lock()  # its own: no reader waits for somebody's disk
        self._columns: dict[tuple[str, str], Growing] = {}
        self._lists: dict[tuple[str, str], Lists] = {}
        self.offset = ""
        self._folder = ""
        self._recover()
        database.sweep("state", [self._folder])

    def read(self, table: str, rows: Rows, names: Sequence[str]) -> Columns:
        rows = np.ascontiguousarray(rows, np.int32)
        with self._lock:
            found = {name: self._columns.get((table, name)) for name in names}
            return {
                name: np.full(len(rows), np.nan) if column is None else column.read(rows)
                for name, column in found.items()
            }

    def write(self, table: str, rows: Rows, columns: Columns) -> None:
        rows = np.asarray(rows, np.int32)
        known = rows >= 0
        with self._lock:
            for name, column in columns.items():
                values = self._writable(table, name, rows, column)
                values[rows[known]] = column[known]

    def add(self, table: str, name: str, rows: Rows, amount: Scores) -> None:
        """Add to what is there; a missing value counts as 0."""
        rows = np.asarray(rows, np.int32)
        known = rows >= 0
        with self._lock:
            values = self._writable(table, name, rows, amount)
            at = rows[known]
            values[at] = np.nan_to_num(values[at], nan=0.0)
            np.add.at(values, at, amount[known])

    def push(self, table: str, name: str, rows: Rows, columns: Columns, keep: int) -> None:
        """Append to the list of each row, then keep its `keep` newest by "time" (equal times in the order they came).

        The columns and their dtypes are those of the first push.
        """
        rows = np.asarray(rows, np.int32)
        where = f"push {table}.{name}"
        if keep < 1:
            raise ConfigError(f"{where}: keep is {keep}, must be at least 1")
        if "time" not in columns or columns["time"].dtype != np.int64:
            raise ShapeError(f'{where}: needs a column "time" of int64 microseconds')
        with self._lock:
            lists = self._lists.get((table, name))
            if lists is None:
                lists = self._lists[table, name] = Lists({each: column[:0].copy() for each, column in columns.items()})
            lists.check(where, rows, columns)
            lists.push(rows, columns, keep)
            if lists.spare > max(SPARE, len(lists)):
                lists.pack()

    def lists(self, table: str, name: str, rows: Rows) -> Ragged:
        """The list of each row, oldest first, read-only; with the columns of a history before the first push."""
        rows = np.ascontiguousarray(rows, np.int32)
        with self._lock:
            lists = self._lists.get((table, name))
            return empty_history(len(rows)) if lists is None else lists.read(rows)

    def erase(self, table: str, rows: Rows) -> int:
        """Every column and list of `rows` reads as if it had never been written; how many values that were."""
        rows = np.unique(np.asarray(rows, np.int32))
        count = 0
        with self._lock:
            for (owner, _), column in self._columns.items():
                if owner == table:
                    at = rows[(rows >= 0) & (rows < len(column.values) - 1)]
                    count += int(np.count_nonzero(~np.isnan(column.values[at])))
                    column.values[at] = np.nan
            count += sum(lists.clear(rows) for (owner, _), lists in self._lists.items() if owner == table)
        return count

    def retain(self, table: str, name: str, oldest: Mapping[int, int]) -> int:
        """Drop from lists with the column "kind" what is older than `oldest` of its kind says; how many."""
        limit = oldest_times(oldest)
        with self._lock:
            lists = self._lists.get((table, name))
            return 0 if lists is None else lists.keep(lambda columns: columns["time"] >= limit[columns["kind"]])

    def names(self, table: str) -> tuple[list[str], list[str]]:
        """The columns and the lists that `table` has, sorted."""
        with self._lock:
            columns = sorted(name for owner, name in self._columns if owner == table)
            return columns, sorted(name for owner, name in self._lists if owner == table)

    def clear(self) -> None:
        """Forget everything, to be folded from the start of the log."""
        with self._lock:
            self._columns, self._lists, self.offset = {}, {}, ""

    def snapshot(self) -> None:
        """Write everything with `offset`. Call it from the thread that folds; reads and writes go on meanwhile."""
        with self._lock:
            columns = {key: column.values[:-1].copy() for key, column in self._columns.items()}
            lists = {key: each.arrays() for key, each in self._lists.items()}
            offset = self.offset
        name = str(int(self._folder or 0) + 1)
        with self._database.new(f"state/{name}") as folder:
            folder.mkdir()
            files: list[NDArray[Any]] = []
            contents = {
                "offset": offset,
                "columns": [[*key, _file(files, column)] for key, column in columns.items()],
                "lists": [
                    [*key, {part: _file(files, array) for part, array in arrays.items()}]
                    for key, arrays in lists.items()
                ],
            }
            for number, array in enumerate(files):
                save(folder / f"{number}.npy", array)
            (folder / "state.json").write_text(json.dumps(contents))
        failpoints.at("state.written")
        with self._database.write() as sql:
            sql.execute("INSERT OR REPLACE INTO meta VALUES ('state.folder', ?)", (name,))
        failpoints.at("state.named")
        self._folder = name
        self._database.sweep("state", [name])

    def _recover(self) -> None:
        """Load the snapshot that the database names; without its files everything is folded from the start of the log.
        A writer may replace it while it is read here: then the next one is read."""
        named = None
        while named != self._folder:
            self._folder = self._named()
            folder = self._database.folder / "state" / self._folder
            try:
                if self._folder and folder.is_dir():
                    self._load(folder)
                    return
            except StoreError:
                if self._named() == self._folder:
                    raise
                self.clear()
            named = self._named()

    def _named(self) -> str:
        with self._database.read() as sql:
            row = sql.execute("SELECT value FROM meta WHERE key = 'state.folder'").fetchone()
        return row[0] if row else ""

    def _load(self, folder: Path) -> None:
        def array(name: str) -> NDArray[Any]:
            loaded: NDArray[Any] = np.load(folder / name, allow_pickle=False)
            return loaded

        try:
            with explained(folder):
                contents = json.loads((folder / "state.json").read_text())
                for table, name, file in contents["columns"]:
                    values = array(file)
                    self._columns[table, name] = column = Growing(values.dtype, np.nan, values.shape[1:])
                    column.writable(len(values))[: len(values)] = values
                for table, name, files in contents["lists"]:
                    self._lists[table, name] = Lists.of({column: array(file) for column, file in files.items()})
                self.offset = contents["offset"]
        except (ValueError, KeyError) as error:
            raise StoreError(
                f"the snapshot {folder} is damaged: {error}",
                hint=f"Remove {folder.parent}; the state is rebuilt from the log at the next start.",
            ) from error

    def _writable(self, table: str, name: str, rows: Rows, column: NDArray[Any]) -> NDArray[Any]:
        """The column `table.name` with room for `rows`, made at its first use."""
        if len(column) != len(rows):
            raise ShapeError(f"{table}.{name}: {len(column)} values for {len(rows)} rows")
        if column.dtype.kind not in "biuf":
            raise DataError(
                f"{table}.{name}: state holds numbers, got {column.dtype}", hint="Texts belong into the catalog."
            )
        held = self._columns.get((table, name))
        if held is None:
            held = self._columns[table, name] = Growing(np.float64, np.nan, column.shape[1:])
        if held.values.shape[1:] != column.shape[1:]:
            raise ShapeError(f"{table}.{name} holds {held.values.shape[1:]} a row, got {column.shape[1:]}")
        return held.writable(int(rows.max(initial=-1)) + 1)


def _file(files: list[NDArray[Any]], array: NDArray[Any]) -> str:
    """Put `array` among the files to write; returns its name."""
    files.append(array)
    return f"{len(files) - 1}.npy"
