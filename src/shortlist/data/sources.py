"""Where rows come from: text tables, JSON lines, Parquet and SQL behind one function."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from shortlist.data import sql, text
from shortlist.data.mapping import Mapping
from shortlist.data.probe import probe
from shortlist.data.records import Form
from shortlist.data.rows import Batch, Reject, named_rows
from shortlist.errors import DataError, NotFound

ROWS = 200_000  # of one batch


@dataclass(frozen=True, slots=True)
class Source:
    """An opened source: what to call it, what was recognised, its columns, and its rows."""

    where: str
    names: tuple[str, ...]
    notes: tuple[str, ...]
    batches: Iterator[Batch]
    form: Form | None = None  # of text tables
    close: Callable[[], None] = lambda: None


def open_source(source: str | Path, mapping: Mapping) -> Source:
    """Open a file or a SQL URL; nothing but its beginning is read before `batches` is."""
    if "://" in str(source):
        names, batches, close = sql.read(str(source), mapping.ids)
        return Source(sql.masked(str(source)), names, (), batches, close=close)
    path = Path(source)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:] if suffix.lower() != ".gz"]
    if suffixes[-1:] == [".parquet"]:
        return _parquet(path, mapping)
    if suffixes[-1:] in ([".jsonl"], [".ndjson"], [".json"]):
        return _json(path, mapping)
    form = text.recognise(path, mapping)
    return Source(str(path), form.names, form.notes, text.read(path, form), form)


def expand(pattern: str, home: Path) -> list[str]:
    """The files that a mapping's `source` means, in order; a SQL URL means itself."""
    if "://" in pattern:
        return [pattern if not pattern.startswith("sqlite:///") else sql.located(pattern, home)]
    found = sorted(glob.glob(str(home / pattern)))
    if not found:
        raise NotFound("no such file", where=str(home / pattern), hint="check `source` in shortlist.toml")
    return found


def require(source: Source, wanted: Sequence[str], names: Sequence[str]) -> None:
    """DataError for the first wanted column that is not there, with the nearest that is."""
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"there is no column {name!r}{guess} (columns: {', '.join(map(repr, names))})",
                where=source.where,
                hint="name the columns in shortlist.toml, or let `shortlist init FILE` guess them",
            )


def _json(path: Path, mapping: Mapping) -> Source:
    encoding, note = (mapping.encoding, "") if mapping.encoding else text.recognise_encoding(path)
    batches = _json_batches(path, encoding, mapping.ids)
    first = next(batches, None)
    if first is None or not (len(first.line) or first.bad):
        raise DataError("the file is empty", where=str(path), hint="write one JSON object per line")
    if not len(first.line) and first.bad[0].row.lstrip().startswith("["):
        raise DataError(
            "the file is one JSON array",
            where=str(path),
            hint="write one JSON object per line: jq -c '.[]' IN > OUT.jsonl",
        )
    return Source(str(path), tuple(first.frame.columns), (note,) if note else (), _chained(first, batches))


def _chained(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest


def _json_batches(path: Path, encoding: str, ids: Sequence[str]) -> Iterator[Batch]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    start = 1
    for lines, done, _ in text.chunks(path, encoding):
        rows: list[dict[str, Any]] = []
        kept: list[int] = []
        bad: list[Reject] = []
        for line, each in enumerate(lines, start):
            if not each or each.isspace():
                continue
            try:
                rows.append(decoder.decode(each))
                kept.append(line)
            except (msgspec.DecodeError, UnicodeEncodeError) as error:
                row = each.encode("utf-8", "backslashreplace").decode()
                remedy = "write one JSON object per line"
                bad.append(Reject(line, row, "json", f"not a JSON object: {error}", remedy))
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = [[row.get(name) for name in names] for row in rows]
        raw = [lines[line - start] for line in kept]
        batch = named_rows(names, table, np.asarray(kept, np.int64), ids, raw)
        if len(batch.line) or batch.bad or bad:
            yield Batch(batch.line, batch.frame, batch.text, [*bad, *batch.bad], done)
        start += len(lines)


def _parquet(path: Path, mapping: Mapping) -> Source:
    if not path.is_file():
        raise NotFound("no such file", where=str(path), hint="check the path")
    if problem := probe().problem(path):
        raise _unreadable(path, problem)
    with _readable(path):
        table = pl.scan_parquet(path)
        schema = table.collect_schema()
        rows = table.select(pl.len()).collect().item()
    notes, columns = [], []
    for name, dtype in schema.items():
        read = _id(name, dtype, path) if name in mapping.ids else _fact(name, dtype)
        if read is None:
            notes.append(f"column {name!r} is left out: {dtype} has no place in a catalogue")
        else:
            columns.append(read)

    def batches() -> Iterator[Batch]:
        for start in range(0, rows, ROWS):
            with _readable(path):
                frame = table.slice(start, ROWS).select(columns).collect()
            line = np.arange(start + 1, start + 1 + len(frame), dtype=np.int64)
            yield Batch(line, frame, None, (), min(1.0, (start + ROWS) / rows))

    names = tuple(name for name in schema if not any(repr(name) in note for note in notes))
    return Source(str(path), names, tuple(notes), batches())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """DataError for what a damaged Parquet file makes polars raise; some damage makes it panic."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _unreadable(path, str(error)) from error


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"not readable as Parquet: {why}", where=str(path), hint="write the file again")


def _id(name: str, dtype: pl.DataType, path: Path) -> pl.Expr:
    whole = isinstance(dtype, pl.Decimal) and not dtype.scale
    if dtype.is_integer() or whole or isinstance(dtype, pl.String | pl.Categorical | pl.Enum | pl.Binary | pl.Null):
        return pl.col(name).cast(pl.String)
    raise DataError(
        f"column {name!r} is {dtype}: an id must be text or a whole number, 7.0 may have been 7 or '7.0'",
        where=str(path),
        hint=f"cast it before writing the file, in pandas: df[{name!r}] = df[{name!r}].astype('Int64')",
    )


def _fact(name: str, dtype: pl.DataType) -> pl.Expr | None:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        utc = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
        return utc.cast(pl.Datetime("us"))
    if isinstance(dtype, pl.Date):
        return column.cast(pl.Datetime("us"))
    if isinstance(dtype, pl.List):
        return column.cast(pl.List(pl.String)) if not dtype.inner.is_nested() else None
    if isinstance(dtype, pl.Decimal):
        return column.cast(pl.Float64)
    if dtype.is_nested() or isinstance(dtype, pl.Time | pl.Duration | pl.Object):
        return None
    return column if dtype.is_numeric() or isinstance(dtype, pl.Boolean) else column.cast(pl.String)
