"""EventLog of the embedded stores: a SQLite tail for what was just acknowledged, Parquet segments for the rest.

Order of effects of an append: [bulk only: segment written, synced, renamed] -> one transaction (tail row, or segment
row) -> ids remembered -> reply. When the tail is long it is written as a segment, and one transaction adds the row of
the segment and deletes the tail. Offsets are positions in order of arrival.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from shortlist.errors import DataError, StoreError
from shortlist.stores.arrays import blank, objects, pack, unpack
from shortlist.stores.database import Database, failure
from shortlist.stores.idset import IdSet
from shortlist.types import Column, Columns, Events, Mask

BULK = 5_000  # new events in one commit that go to a segment at once
ROLL = 65_536  # events in the tail that are worth a segment
SEGMENT = 1_000_000  # events in a segment, and so in a batch of `scan`

RECORD = np.dtype(
    [
        ("user", np.int32),
        ("item", np.int32),
        ("kind", np.uint8),
        ("value", np.float32),
        ("time", np.int64),
        ("request", np.uint64),
        ("id", np.uint64, 2),
    ]
)
FIELDS = RECORD.names or ()


@dataclass(slots=True)
class _Ticket:
    """An append that waits for the commit it goes into."""

    events: Events
    new: Mask | None = None
    error: BaseException | None = None


class EmbeddedLog:
    """Events in order of arrival. Appends of several threads that wait for the disk share one commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.close = database.close  # of the whole folder
        self._known = IdSet()
        self._context: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}  # type of each context column
        self._tail_length = 0
        self._waiting: list[_Ticket] = []
        self._waiting_lock = threading.Lock()
        if not database.read_only:
            self._recover()

    def append(self, events: Events) -> Mask:
        if not len(events):
            return np.empty(0, np.bool_)
        ticket = _Ticket(self._typed(events))
        with self._waiting_lock:
            self._waiting.append(ticket)
        with self._database.lock:  # whoever comes first commits for all who wait
            if ticket.new is None and ticket.error is None:
                self._commit()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.new is not None
        return ticket.new

    def scan(self, start: str = "", stop: str = "") -> Iterator[tuple[str, Events]]:
        """Batches of at most a million events. Context columns that an event lacks read as "no value" in its batch."""
        end = int(self.end())
        at, last = self._position(start, 0, end), self._position(stop, end, end)
        while at < last:
            first, events = self._piece(at)
            upto = min(first + len(events), last)
            if at > first or upto < first + len(events):
                events = events.take(np.arange(at - first, upto - first))
            at = upto
            yield str(at), events

    def end(self) -> str:
        with self._database.read() as sql:
            return str(_end(sql))

    def _position(self, offset: str, default: int, end: int) -> int:
        if not offset:
            return default
        if not offset.isascii() or not offset.isdigit() or int(offset) > end:
            raise DataError(
                f"offset {offset!r} is not one of this log, which ends at {end}",
                hint="Take offsets from this log; state that is ahead of its log must be rebuilt.",
            )
        return int(offset)

    def _piece(self, at: int) -> tuple[int, Events]:
        """The segment that holds position `at`, or the tail from there on: (position of the first, events)."""
        with self._database.read() as sql:
            segment = sql.execute(
                "SELECT first, count, file FROM segment WHERE first <= ? ORDER BY first DESC LIMIT 1", (at,)
            ).fetchone()
            if segment is None or segment[0] + segment[1] <= at:
                return _tail(sql, at)
        path = self._database.folder / "events" / segment[2]
        try:
            return segment[0], _from_frame(pl.read_parquet(path))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise failure(error, path) from error

    def _commit(self) -> None:
        with self._waiting_lock:
            tickets, self._waiting = self._waiting, []
        try:
            joined = _join([ticket.events for ticket in tickets])
            new = self._known.fresh(joined.id)
            kept = joined if new.all() else joined.take(new)
            if len(kept) >= BULK:
                self._store_segments(kept)
            elif len(kept):
                self._store_tail(kept)
            self._known.add(kept.id)
            if self._tail_length >= ROLL:
                with suppress(StoreError):  # these events are safe in the tail; the next append tries again
                    self._store_segments(Events.empty())
        except BaseException as error:
            for ticket in tickets:
                ticket.error = error
            return
        start = 0
        for ticket in tickets:
            ticket.new = new[start : start + len(ticket.events)]
            start += len(ticket.events)

    def _store_tail(self, events: Events) -> None:
        with self._database.write() as sql:
            context = pack(events.columns) if events.columns else None
            row = (_end(sql), len(events), _records(events).tobytes(), context)
            sql.execute("INSERT INTO tail VALUES (?, ?, ?, ?)", row)
        self._tail_length += len(events)

    def _store_segments(self, events: Events) -> None:
        """The tail and then `events` as segments, in one transaction."""
        with self._database.read() as sql:
            first, tail = _tail(sql, 0)
        written: list[tuple[int, int, str]] = []
        for part in (tail, events):
            for start in range(0, len(part), SEGMENT):
                upto = min(start + SEGMENT, len(part))
                piece = part if len(part) <= SEGMENT else part.take(np.arange(start, upto))
                written.append((first, len(piece), self._write_segment(first, piece)))
                first += len(piece)
        with self._database.write() as sql:
            sql.execute("DELETE FROM tail")
            sql.executemany("INSERT INTO segment VALUES (?, ?, ?)", written)
        self._tail_length = 0

    def _write_segment(self, first: int, events: Events) -> str:
        name = f"{first:012d}-{len(events)}.parquet"
        with self._database.new(f"events/{name}") as path:
            try:
                _to_frame(events).write_parquet(path, compression="zstd", compression_level=1)
            except pl.exceptions.PolarsError as error:
                raise failure(error, path) from error
        return name

    def _recover(self) -> None:
        """Remove segments that no row names, and learn the ids of the others: 0.2 s a million events."""
        folder = self._database.folder / "events"
        with self._database.read() as sql:
            files = [file for (file,) in sql.execute("SELECT file FROM segment ORDER BY first")]
            for name, dtype, shape in sql.execute("SELECT name, dtype, shape FROM context"):
                self._context[name] = np.dtype(dtype), tuple(json.loads(shape))
            _, tail = _tail(sql, 0)
        self._database.sweep("events", files)
        for file in files:
            if not (folder / file).is_file():
                raise StoreError(
                    f"{folder / file} is missing: events that were acknowledged are not there",
                    hint="Put the file back, or restore the folder from a backup.",
                )
            frame = pl.read_parquet(folder / file, columns=["id_0", "id_1"])
            self._known.add(np.stack((frame["id_0"].to_numpy(), frame["id_1"].to_numpy()), axis=1))
        self._known.add(tail.id)
        self._tail_length = len(tail)

    def _typed(self, events: Events) -> Events:
        """Context columns in the type that their first use gave them."""
        if not events.columns:
            return events
        columns = {name: _plain(name, column) for name, column in events.columns.items()}
        if not columns.keys() <= self._context.keys():
            self._register(columns)
        for name, column in columns.items():
            dtype, shape = self._context[name]
            if column.shape[1:] != shape or not np.can_cast(column.dtype, dtype, "same_kind"):
                raise DataError(
                    f"event column {name!r} holds {_described(dtype, shape)}; got "
                    f"{_described(column.dtype, column.shape[1:])}",
                    hint="Send that type, or use another column name.",
                )
            columns[name] = column.astype(dtype, copy=False)
        return replace(events, columns=columns)

    def _register(self, columns: Columns) -> None:
        with self._database.lock:
            fresh = {name: column for name, column in columns.items() if name not in self._context}
            with self._database.write() as sql:
                sql.executemany(
                    "INSERT INTO context VALUES (?, ?, ?)",
                    [(name, column.dtype.str, json.dumps(column.shape[1:])) for name, column in fresh.items()],
                )
            self._context |= {name: (column.dtype, column.shape[1:]) for name, column in fresh.items()}


def _end(sql: Any) -> int:
    row = sql.execute(
        "SELECT max(coalesce((SELECT first + count FROM tail ORDER BY first DESC LIMIT 1), 0),"
        " coalesce((SELECT first + count FROM segment ORDER BY first DESC LIMIT 1), 0))"
    ).fetchone()
    return int(row[0])


def _tail(sql: Any, at: int) -> tuple[int, Events]:
    """The events of the tail from the row that holds position `at` on: (position of the first, events)."""
    rows = sql.execute(
        "SELECT first, count, events, context FROM tail"
        " WHERE first >= coalesce((SELECT max(first) FROM tail WHERE first <= ?), 0) ORDER BY first",
        (at,),
    ).fetchall()
    if not rows:
        return _end(sql), Events.empty()
    records = np.frombuffer(b"".join(row[2] for row in rows), RECORD)
    parts = [(first - rows[0][0], count, unpack(context)) for first, count, _, context in rows if context]
    own = {field: np.ascontiguousarray(records[field]) for field in FIELDS}
    return rows[0][0], _events(own, _spread(parts, len(records)))


def _spread(parts: Sequence[tuple[int, int, Columns]], size: int) -> dict[str, Column]:
    """(start, count, columns) of parts -> columns of `size` rows, blank where a part lacks one."""
    whole: dict[str, Column] = {}
    for start, count, columns in parts:
        for name, column in columns.items():
            if name not in whole:
                whole[name] = np.empty((size, *column.shape[1:]), column.dtype)
                whole[name].fill(blank(column.dtype))
            whole[name][start : start + count] = column
    return whole


def _join(parts: Sequence[Events]) -> Events:
    if len(parts) == 1:
        return parts[0]
    *starts, size = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    context = _spread([(at, len(part), part.columns) for at, part in zip(starts, parts, strict=True)], size)
    return _events({field: np.concatenate([getattr(part, field) for part in parts]) for field in FIELDS}, context)


def _events(own: dict[str, Any], context: Columns) -> Events:
    return Events(**own, columns=context)


def _records(events: Events) -> np.ndarray[Any, Any]:
    records = np.empty(len(events), RECORD)
    for field in FIELDS:
        records[field] = getattr(events, field)
    return records


def _plain(name: str, column: Column) -> Column:
    """A context column as numbers, flags or an object array of str."""
    if column.dtype.kind in "UT":
        return column.astype(object)
    texts = column.dtype == object and column.ndim == 1 and all(isinstance(value, str) for value in column)
    if not texts and column.dtype.kind not in "biuf":
        raise DataError(
            f"event column {name!r} holds {column.dtype}", hint="Context columns are numbers, flags or text."
        )
    return column


def _described(dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    kind = "text" if dtype.kind == "O" else str(dtype)
    return f"{kind} {shape}" if shape else kind


def _to_frame(events: Events) -> pl.DataFrame:
    own = {field: getattr(events, field) for field in FIELDS if field != "id"}
    context = {
        f"context.{name}": column.tolist() if column.dtype == object else column
        for name, column in events.columns.items()
    }
    return pl.DataFrame({**own, "id_0": events.id[:, 0], "id_1": events.id[:, 1], **context})


def _from_frame(frame: pl.DataFrame) -> Events:
    def array(name: str) -> Column:
        series = frame[name]
        return objects(series.to_list()) if series.dtype == pl.String else series.to_numpy()

    own = {field: array(field) for field in FIELDS if field != "id"}
    context = {name[8:]: array(name) for name in frame.columns if name.startswith("context.")}
    return _events({**own, "id": np.stack((array("id_0"), array("id_1")), axis=1)}, context)
