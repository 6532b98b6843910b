"""EventLog of the embedded stores: a SQLite tail for what was just acknowledged, Parquet segments for the rest.

Order of effects of an append: [bulk only: segment written, synced, renamed] -> one transaction (tail row, or segment
row) -> ids remembered -> reply. When the tail is long it is written as a segment, and one transaction adds the row of
the segment and deletes the tail. Offsets are positions in order of arrival.

Events that are erased or too old leave their segment, which is written anew under another name; the others keep their
positions, in a column "place" of the new file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist import _kernels, failpoints
from shortlist.errors import DataError, StoreError
from shortlist.ops import gather
from shortlist.stores.arrays import blank, objects, oldest_times, pack, unpack
from shortlist.stores.database import Database, failure
from shortlist.types import Column, Columns, Events, Mask, Rows

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
        self._known = _kernels.IdSet()
        self._erased = np.empty(0, np.bool_)  # by row of the user
        self._rewriting = threading.Lock()
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
        """Batches of at most a million events. Context columns that an event lacks read as "no value"."""
        if self._database.read_only:  # another process writes, and may have met columns since
            with self._database.read() as sql:
                self._context = _context(sql)
        end = int(self.end())
        at, last = self._position(start, 0, end), self._position(stop, end, end)
        while at < last:
            first, count, place, events = self._piece(at)
            upto = min(first + count, last)
            if at > first or upto < first + count:
                inside: Sequence[int] = at - first, upto - first
                begin, stop_at = inside if place is None else np.searchsorted(place, inside).tolist()
                events = events.take(np.arange(begin, stop_at))
            at = upto
            yield str(at), self._whole(events)

    def end(self) -> str:
        with self._database.read() as sql:
            return str(_end(sql))

    def erase(self, users: Rows) -> NDArray[np.int64]:
        """The events of `users` leave every file of the log, and later ones are not taken; (U,) how many went."""
        known = np.unique(users[users >= 0])
        with self._database.lock:
            with self._database.write() as sql:
                sql.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [(row,) for row in known.tolist()])
            self._erased = _marked(self._erased, known)
        failpoints.at("log.erasing")
        erased, counts = self._erased, np.zeros(int(users.max(initial=-1)) + 1, np.int64)
        for gone in self._remove(("user",), lambda events: gather(erased, events["user"], False)):
            counts += np.bincount(gone["user"].to_numpy(), minlength=len(counts))[: len(counts)]
        return gather(counts, users, 0)

    def retain(self, oldest: Mapping[int, int]) -> int:
        """Events whose time lies before `oldest` of their kind are in no file of the log any more; how many went."""
        limit = oldest_times(oldest)
        gone = self._remove(("kind", "time"), lambda events: events["time"] < limit[events["kind"]])
        return sum(len(each) for each in gone)

    def _remove(self, names: Sequence[str], wrong: Callable[[Columns], Mask]) -> Iterator[pl.DataFrame]:
        """Take out the events that `wrong` finds by their columns `names`; what went of each segment. New segments are
        written beside what is served: appends and readers go on, and a crash leaves each segment as it was or as it
        shall be."""
        with self._rewriting:
            with self._database.lock:
                with self._database.read() as sql:
                    _, tail = _tail(sql, 0)
                if wrong({name: getattr(tail, name) for name in names}).any():
                    self._store_segments(Events.empty())
                    failpoints.at("log.rolled")
            with self._database.read() as sql:
                segments = sql.execute("SELECT first, count, file FROM segment ORDER BY first").fetchall()
            for first, count, file in segments:
                yield self._rewrite(first, count, file, names, wrong)

    def _rewrite(
        self, first: int, count: int, file: str, names: Sequence[str], wrong: Callable[[Columns], Mask]
    ) -> pl.DataFrame:
        path = self._database.folder / "events" / file
        try:
            frame = pl.read_parquet(path, columns=list(names))
            mask = wrong({name: frame[name].to_numpy() for name in names})
            if not mask.any():
                return frame.clear()
            frame = pl.read_parquet(path)
        except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise failure(error, path) from error
        if "place" not in frame.columns:
            frame = frame.with_columns(pl.Series("place", np.arange(count, dtype=np.uint32)))
        gone, kept = frame.filter(mask), frame.filter(~mask)
        base, _, version = file.removesuffix(".parquet").partition(".")
        name = f"{base}.{int(version or 0) + 1}.parquet"
        self._write_frame(name, kept)
        failpoints.at("log.rewritten")
        with self._database.lock:
            with self._database.write() as sql:
                sql.execute("UPDATE segment SET file = ? WHERE first = ?", (name, first))
            self._known.discard(_ids(gone))
        failpoints.at("log.replaced")
        path.unlink(missing_ok=True)
        return gone

    def _position(self, offset: str, default: int, end: int) -> int:
        if not offset:
            return default
        if not offset.isascii() or not offset.isdigit() or int(offset) > end:
            raise DataError(
                f"offset {offset!r} is not one of this log, which ends at {end}",
                hint="Take offsets from this log; state that is ahead of its log must be rebuilt.",
            )
        return int(offset)

    def _piece(self, at: int) -> tuple[int, int, NDArray[np.uint32] | None, Events]:
        """The segment that holds position `at`, or the tail from there on: (its first position, how many positions, the
        place of each event among them if some are empty, events)."""
        missing = ""
        while True:
            with self._database.read() as sql:
                segment = sql.execute(
                    "SELECT first, count, file FROM segment WHERE first <= ? ORDER BY first DESC LIMIT 1", (at,)
                ).fetchone()
                if segment is None or segment[0] + segment[1] <= at:
                    first, events = _tail(sql, at)
                    return first, len(events), None, events
            first, count, file = segment
            path = self._database.folder / "events" / file
            try:
                frame = pl.read_parquet(path)
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                if not isinstance(error, FileNotFoundError) or file == missing:
                    raise failure(error, path) from error
                missing = file  # written anew after its name was read: ask again
                continue
            place = frame["place"].to_numpy() if "place" in frame.columns else None
            return first, count, place, _from_frame(frame)

    def _commit(self) -> None:
        with self._waiting_lock:
            tickets, self._waiting = self._waiting, []
        try:
            joined = _join([ticket.events for ticket in tickets])
            new = self._known.fresh(joined.id) & ~gather(self._erased, joined.user, False)
            kept = joined if new.all() else joined.take(new)
            if len(kept) >= BULK:
                self._store_segments(kept)
            elif len(kept):
                self._store_tail(kept)
            failpoints.at("log.committed")
            self._known.add(kept.id)
            failpoints.at("log.known")
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
                failpoints.at("log.segment")
                first += len(piece)
        with self._database.write() as sql:
            sql.execute("DELETE FROM tail")
            sql.executemany("INSERT INTO segment VALUES (?, ?, ?)", written)
        self._tail_length = 0

    def _write_segment(self, first: int, events: Events) -> str:
        name = f"{first:012d}-{len(events)}.parquet"
        self._write_frame(name, _to_frame(events))
        return name

    def _write_frame(self, name: str, frame: pl.DataFrame) -> None:
        with self._database.new(f"events/{name}") as path:
            try:
                frame.write_parquet(path, compression="zstd", compression_level=1)
            except pl.exceptions.PolarsError as error:
                raise failure(error, path) from error

    def _recover(self) -> None:
        """Remove segments that no row names, and learn the ids of the others: 0.2 s a million events."""
        folder = self._database.folder / "events"
        with self._database.read() as sql:
            files = [file for (file,) in sql.execute("SELECT file FROM segment ORDER BY first")]
            self._context = _context(sql)
            self._erased = _marked(self._erased, np.array([row for (row,) in sql.execute("SELECT user FROM gone")]))
            _, tail = _tail(sql, 0)
        self._database.sweep("events", files)
        for file in files:
            if not (folder / file).is_file():
                raise StoreError(
                    f"{folder / file} is missing: events that were acknowledged are not there",
                    hint="Put the file back, or restore the folder from a backup.",
                )
            self._known.add(_ids(pl.read_parquet(folder / file, columns=["id_0", "id_1"])))
        self._known.add(tail.id)
        self._tail_length = len(tail)

    def _whole(self, events: Events) -> Events:
        """`events` with every context column that any event has."""
        lacking = {name: each for name, each in self._context.items() if name not in events.columns}
        if not lacking:
            return events
        columns = {
            name: np.full((len(events), *shape), blank(dtype), dtype) for name, (dtype, shape) in lacking.items()
        }
        return replace(events, columns={**events.columns, **columns})

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
            failpoints.at("log.context")
            told = {name: (column.dtype, column.shape[1:]) for name, column in fresh.items()}
            self._context = {**self._context, **told}  # another one: who reads goes through the one before


def _context(sql: Any) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Dtype and shape of each context column that any event has."""
    rows = sql.execute("SELECT name, dtype, shape FROM context")
    return {name: (np.dtype(dtype), tuple(json.loads(shape))) for name, dtype, shape in rows}


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
    return _events({**own, "id": _ids(frame)}, context)


def _ids(frame: pl.DataFrame) -> NDArray[np.uint64]:
    return np.stack((frame["id_0"].to_numpy(), frame["id_1"].to_numpy()), axis=1)


def _marked(mask: Mask, rows: NDArray[np.integer[Any]]) -> Mask:
    """`mask` (by row) with `rows` true as well."""
    grown = np.zeros(max(len(mask), int(rows.max(initial=-1)) + 1), np.bool_)
    grown[: len(mask)] = mask
    grown[rows.astype(np.intp)] = True
    return grown
