"""Catalog of the embedded stores: ids in a dictionary, facts in columns, both replayed from SQLite at opening."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from itertools import repeat
from typing import Any, cast

import numpy as np

from shortlist import failpoints
from shortlist.errors import ConfigError, DataError, ShapeError, StoreError
from shortlist.stores.arrays import Growing, objects, pack, unpack
from shortlist.stores.database import Database
from shortlist.stores.embedded_erasures import Erasures
from shortlist.types import Column, Columns, Mask, Rows

LONGEST = 256  # bytes of UTF-8
REMOVED = ""  # the column that says so: 1 = removed; nobody else can name a column like this
COMPACT_AT_OPEN, COMPACT_WHILE_OPEN, CHUNK = 1_000, 100_000, 100_000

_clean = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]+").fullmatch

TYPES: Mapping[str, tuple[Any, Any]] = {
    "text": (object, ""),
    "number": (np.float64, np.nan),
    "time": (np.int64, -1),
    "flag": (np.int8, -1),
    "list": (object, ()),
}
"""Types of a column: dtype in memory, and how "no value" reads."""

_FITS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float | np.number) and not isinstance(value, bool),
    "time": lambda value: isinstance(value, int | np.integer) and not isinstance(value, bool),
    "flag": lambda value: isinstance(value, bool | np.bool_),
    "list": lambda value: isinstance(value, tuple | list) and all(isinstance(each, str) for each in value),
}


class EmbeddedCatalog:
    """Ids and facts of users and items. Reads never wait for a write; a write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.close = database.close  # of the whole folder
        self._tables = {entity: _Table(entity) for entity in ("user", "item")}
        self.erasures = Erasures(database)
        self.refresh()
        if not database.read_only:
            for table in self._tables.values():
                if table.puts > COMPACT_AT_OPEN:
                    self._compact(table)

    def refresh(self) -> None:
        """See what another process has written since (a writer sees its own writes anyway)."""
        with self._database.lock, self._database.read() as sql:
            for row in self.erasures.refresh(sql):
                self._tables["user"].forget(row)
            for table in self._tables.values():
                ids = sql.execute(f"SELECT id FROM {table.entity}_id WHERE row >= ? ORDER BY row", (len(table.ids),))
                table.name([id for (id,) in ids])
                for seq, rows, columns in sql.execute(
                    "SELECT seq, rows, columns FROM fact WHERE entity = ? AND seq > ? ORDER BY seq",
                    (table.entity, table.seq),
                ):
                    table.apply(np.frombuffer(rows, np.int32), unpack(columns), seq)
                (last,) = sql.execute(f"SELECT coalesce(max(row) + 1, 0) FROM {table.entity}_id").fetchone()
                if not last == len(table.ids) == len(table.row) + table.nameless:
                    raise StoreError(
                        f"the {table.entity} ids in {self._database.folder} have gaps or repeats",
                        hint="Restore the folder from a backup, or move it away and ingest again.",
                    )

    def rows(self, entity: str, ids: Sequence[str], *, create: bool = False) -> Rows:
        table = self._table(entity)
        found = table.find(ids)
        if create and bool((found < 0).any()):
            with self._database.lock:
                new = [id for id in dict.fromkeys(ids) if id not in table.row]
                if entity == "user":
                    new = [id for id in new if id not in self.erasures]
                _check_ids(entity, new)
                first = len(table.ids)
                with self._database.write() as sql:
                    sql.executemany(f"INSERT INTO {entity}_id VALUES (?, ?)", enumerate(new, first))
                failpoints.at("catalog.ids")
                table.name(new)
            found = table.find(ids)
        return found

    def ids(self, entity: str, rows: Rows) -> list[str]:
        """The id of each row; "" for a row that nothing is known of."""
        ids = self._table(entity).ids
        size = len(ids)
        return [ids[row] if 0 <= row < size else "" for row in rows.tolist()]

    def size(self, entity: str) -> int:
        return len(self._table(entity).ids)

    def put(self, entity: str, rows: Rows, columns: Columns) -> None:
        """Merge: columns and rows that are not named keep their values, a value None (or NaN) removes.

        A column's type is set by its first value: floats are numbers, int64 and datetime64 are times (microseconds),
        other integers numbers, booleans and int8 (1, 0, -1 = no value) flags; in object arrays str, numbers, bool, and
        tuples or lists of str. Of a row that is given twice the last value holds.
        """
        table = self._table(entity)
        rows = np.asarray(rows, np.int32)
        for name, column in columns.items():
            if len(column) != len(rows):
                raise ShapeError(f"put: column {name!r} has {len(column)} rows, expected {len(rows)}")
        with self._database.lock:
            wrong = np.flatnonzero((rows < 0) | (rows >= len(table.ids)))
            if len(wrong):
                raise ShapeError(
                    f"put: there is no {entity} row {rows[wrong[0]]}; rows are 0 to {len(table.ids) - 1}",
                    hint="Get rows with rows(entity, ids, create=True).",
                )
            if (
                table.nameless
                and not (named := np.array([table.ids[row] != "" for row in rows.tolist()], np.bool_)).all()
            ):
                rows, columns = rows[named], {name: column[named] for name, column in columns.items()}
            typed = {name: table.typed(name, column, rows) for name, column in columns.items()}
            kept = {name: column for name, column in typed.items() if column is not None}
            if not table.present(rows).all():
                kept[REMOVED] = np.zeros(len(rows), np.int8)
            self._put(table, rows, kept)

    def remove(self, entity: str, rows: Rows) -> None:
        """Forget every fact of `rows`; rows that are unknown or were removed before stay as they are."""
        table = self._table(entity)
        with self._database.lock:
            rows = np.asarray(rows, np.int32)
            rows = rows[table.present(rows)]
            nothing = {name: np.full(len(rows), None, object) for name in self.names(entity)}
            blank = {name: table.from_objects(name, column, rows) for name, column in nothing.items()}
            self._put(table, rows, {**blank, REMOVED: np.ones(len(rows), np.int8)})

    def present(self, entity: str, rows: Rows) -> Mask:
        return self._table(entity).present(np.ascontiguousarray(rows, np.int32))

    def erase(self, user: str, now: int) -> None:
        """The user's row has neither id nor facts any more, in no put either, and the id is not made again until it is
        lifted. What SQLite leaves behind in its file goes with `Database.purge`."""
        table = self._tables["user"]
        with self._database.lock:
            if user in self.erasures:
                return
            row = table.row.get(user, -1)
            with self._database.write() as sql:
                self.erasures.begin(sql, user, row, now, {"facts": table.facts(row)})
                if row >= 0:
                    sql.execute("UPDATE user_id SET id = '' WHERE row = ?", (row,))
                    _strike(sql, "user", row)
                    _insert(sql, "user", np.array([row], np.int32), {REMOVED: np.ones(1, np.int8)})
            self.refresh()

    def erased(self, users: Sequence[str]) -> Mask:
        """(N,) true for ids that were erased and not lifted since."""
        return np.fromiter((user in self.erasures for user in users), np.bool_, len(users))

    def lift(self, user: str) -> bool:
        """Let an erased id be made again, as a new person; false when it was not erased, or that is still going on."""
        return self.erasures.lift(user)

    def read(self, entity: str, rows: Rows, names: Sequence[str]) -> Columns:
        table = self._table(entity)
        rows = np.ascontiguousarray(rows, np.int32)
        try:
            return {name: table.columns[name].read(rows) for name in names}
        except KeyError as error:
            raise _unknown_column(entity, error.args[0], self.names(entity)) from None

    def names(self, entity: str) -> Sequence[str]:
        return sorted(name for name in self._table(entity).columns if name != REMOVED)

    def version(self, entity: str) -> int:
        table = self._table(entity)
        return table.seq + len(table.ids)

    def _table(self, entity: str) -> _Table:
        if entity not in self._tables:
            raise ConfigError(f"the catalog has no entity {entity!r}", hint="Entities are user and item.")
        return self._tables[entity]

    def _put(self, table: _Table, rows: Rows, columns: Columns) -> None:
        """Durable, then in memory. Call it with the lock held."""
        if not columns or not len(rows):
            return
        with self._database.write() as sql:
            seq = _insert(sql, table.entity, rows, columns)
        failpoints.at("catalog.put")
        table.apply(rows, columns, seq)
        failpoints.at("catalog.applied")
        if table.puts > COMPACT_WHILE_OPEN:
            self._compact(table)

    def _compact(self, table: _Table) -> None:
        """Write the present values and forget the puts that led to them."""
        with self._database.lock, self._database.write() as sql:
            sql.execute("DELETE FROM fact WHERE entity = ?", (table.entity,))
            for start in range(0, len(table.ids), CHUNK):
                rows = np.arange(start, min(start + CHUNK, len(table.ids)), dtype=np.int32)
                _insert(sql, table.entity, rows, {name: column.read(rows) for name, column in table.columns.items()})
        table.puts = 0


def _insert(sql: Any, entity: str, rows: Rows, columns: Columns) -> int:
    """Append one put; returns its number in order."""
    statement = "INSERT INTO fact (entity, rows, columns) VALUES (?, ?, ?)"
    return int(sql.execute(statement, (entity, rows.tobytes(), pack(columns))).lastrowid)


def _strike(sql: Any, entity: str, row: int) -> None:
    """Take one row out of every put."""
    for seq, packed in sql.execute("SELECT seq, rows FROM fact WHERE entity = ?", (entity,)).fetchall():
        rows = np.frombuffer(packed, np.int32)
        if row in rows:
            kept = rows != row
            (columns,) = sql.execute("SELECT columns FROM fact WHERE seq = ?", (seq,)).fetchone()
            left = {name: column[kept] for name, column in unpack(columns).items()}
            sql.execute("UPDATE fact SET rows = ?, columns = ? WHERE seq = ?", (rows[kept].tobytes(), pack(left), seq))


class _Table:
    """One entity in memory."""

    def __init__(self, entity: str) -> None:
        self.entity = entity
        self.ids: list[str] = []
        self.row: dict[str, int] = {}
        self.nameless = 0  # rows whose id was erased
        self.columns: dict[str, Growing] = {}
        self.types: dict[str, str] = {}
        self.seq = 0  # the last put that is in memory
        self.puts = 0  # since the last compaction

    def find(self, ids: Sequence[str]) -> Rows:
        return np.fromiter(map(self.row.get, ids, repeat(-1)), np.int32, len(ids))

    def name(self, ids: Sequence[str]) -> None:
        """Append ids. The list grows first, so that every row a reader can find has its id."""
        first = len(self.ids)
        self.ids.extend(ids)
        self.row.update(zip(ids, range(first, first + len(ids)), strict=True))
        if self.row.pop("", None) is not None:
            self.nameless += ids.count("")

    def facts(self, row: int) -> int:
        """How many columns have a value there."""
        at = np.array([row], np.int32)
        read = ((column.read(at)[0], column.blank) for name, column in self.columns.items() if name != REMOVED)
        return sum(bool(value == value and value != blank) for value, blank in read)

    def forget(self, row: int) -> None:
        """Take the id and the facts of a row, if it is known here."""
        if row < len(self.ids) and self.ids[row]:
            del self.row[self.ids[row]]
            self.ids[row] = ""
            self.nameless += 1
            for column in self.columns.values():
                if row < len(column.values) - 1:
                    column.values[row] = column.blank

    def apply(self, rows: Rows, columns: Columns, seq: int) -> None:
        for name, column in columns.items():
            if name not in self.columns:
                self.types[name] = _type_of(column) or "text"
                self.columns[name] = Growing(*TYPES[self.types[name]])
            self.columns[name].writable(len(self.ids))[rows] = column
        self.seq = max(self.seq, seq)
        self.puts += 1

    def present(self, rows: Rows) -> Mask:
        """(R,) rows that have a name and were not removed."""
        known: Mask = (rows >= 0) & (rows < len(self.ids))
        removed = self.columns.get(REMOVED)
        return known if removed is None else known & (removed.read(rows) != 1)

    def typed(self, name: str, column: Column, rows: Rows) -> Column | None:
        """`column` in the dtype of its type; None when it is new and holds no value at all."""
        if not isinstance(name, str) or not name:
            raise DataError(f"{name!r} cannot name a column of {self.entity}", hint="A name is text, not empty.")
        if column.dtype.kind in "UT":
            column = column.astype(object)
        if column.dtype.kind == "M":
            column = np.where(np.isnat(column), -1, column.astype("datetime64[us]").astype(np.int64))
        given = _type_of(column)
        wanted = self.types.get(name, given)
        if wanted is None:
            if column.dtype == object and all(value is None for value in column):
                return None
            value = next((value for value in column.tolist() if value is not None), column.dtype)
            raise DataError(
                f"column {name!r} of {self.entity}: {type(value).__name__} is none of {', '.join(TYPES)}",
                hint="Give text, float64, int64 microseconds, bool, or tuples of text.",
            )
        if column.dtype == object:
            return self.from_objects(name, column, rows, wanted)
        if given != wanted:
            raise self._mismatch(name, wanted, f"{given}s ({column.dtype})", int(rows[0]) if len(rows) else -1)
        array = column.astype(TYPES[wanted][0], copy=False)
        if array.ndim != 1:
            raise ShapeError(f"put: column {name!r} has shape {array.shape}, expected one value a row")
        return self._finite(name, array, rows) if wanted == "number" else array

    def from_objects(self, name: str, column: Column, rows: Rows, wanted: str = "") -> Column:
        """An object array in the dtype of `wanted`, the column's own type when it is left out; None is no value."""
        wanted = wanted or self.types[name]
        dtype, blank = TYPES[wanted]
        fits, values = _FITS[wanted], column.tolist()
        for at, value in enumerate(values):
            if value is None:
                values[at] = blank
            elif not fits(value):
                raise self._mismatch(name, wanted, f"{value!r} ({type(value).__name__})", int(rows[at]))
            elif wanted == "list":
                values[at] = tuple(value)
        if dtype is object:
            for at, value in enumerate(values):
                if not _is_unicode(value):
                    raise self._mismatch(name, wanted, f"{value!r}, which is not valid Unicode,", int(rows[at]))
            return objects(values)
        array = np.array(values, dtype)
        return self._finite(name, array, rows) if wanted == "number" else array

    def _finite(self, name: str, array: Column, rows: Rows) -> Column:
        infinite = np.flatnonzero(np.isinf(array))
        if len(infinite):
            raise self._mismatch(name, "number", "an infinite one", int(rows[infinite[0]]))
        return array

    def _mismatch(self, name: str, wanted: str, given: str, row: int) -> DataError:
        who = repr(self.ids[row]) if 0 <= row < len(self.ids) else "nobody"
        return DataError(
            f"column {name!r} of {self.entity} holds values of type {wanted}; got {given} for {who}",
            hint=f"Send {wanted} values, or put these under another column name.",
        )


def _type_of(column: Column) -> str | None:
    if column.dtype == object:
        first = next((value for value in column if value is not None), None)
        return next((name for name in ("text", "flag", "number", "list") if _FITS[name](first)), None)
    if column.dtype in (np.int64, np.int8):
        return "time" if column.dtype == np.int64 else "flag"
    return {"f": "number", "i": "number", "u": "number", "b": "flag"}.get(column.dtype.kind)


def _is_unicode(value: str | tuple[str, ...]) -> bool:
    try:
        (value if isinstance(value, str) else "".join(value)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_ids(entity: str, ids: Sequence[object]) -> None:
    """Refuse the first id that is none; many are looked at together as long as nothing is wrong."""
    if all(isinstance(id, str) and id for id in ids) and _clean("".join(texts := cast(Sequence[str], ids)) or "-"):
        ids = [id for id in texts if len(id) * 4 > LONGEST]
    for id in ids:
        _check_id(entity, id)


def _check_id(entity: str, id: object) -> None:
    if not isinstance(id, str):
        raise DataError(
            f"{entity} id {id!r} is {type(id).__name__}, not text",
            hint=f"Ids are text, kept exactly as given: send {str(id)!r} if that is the id.",
        )
    if not id:
        raise DataError(f"a {entity} id is empty", hint=f"Every {entity} needs an id of 1 to {LONGEST} bytes.")
    if not _clean(id):
        raise DataError(
            f"{entity} id {id!r} holds a control character or half a character",
            hint="Line breaks, tabs, NUL and lone surrogates are not allowed in ids; anything else is.",
        )
    if len(id) * 4 > LONGEST and (size := len(id.encode())) > LONGEST:
        raise DataError(
            f"{entity} id {id[:40]!r}... has {size} bytes, at most {LONGEST} are allowed",
            hint="Use a shorter id, such as a hash of this one.",
        )


def _unknown_column(entity: str, name: str, names: Sequence[str]) -> ConfigError:
    close = get_close_matches(str(name), names, 1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return ConfigError(
        f"{entity} has no column {name!r}{meant}",
        hint=f"It has: {', '.join(names)}." if names else f"No facts about {entity}s were put yet.",
    )
