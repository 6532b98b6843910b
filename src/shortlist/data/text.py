"""Text files: which encoding, which separator, and their rows in bounded memory with their true line numbers."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from shortlist.data.mapping import Mapping
from shortlist.data.roles import ALL, plain
from shortlist.data.rows import Batch, Reject
from shortlist.errors import DataError, NotFound

CHUNK = 8 << 20  # bytes read at a time: about 300,000 rows of events
LONGEST = 16 << 20  # characters of one line
SPAN = 200  # lines of one quoted record; a stray quotation mark may swallow no more
SAMPLE = 64 << 20  # bytes looked at to recognise the encoding
C1 = range(0x80, 0xA0)  # control characters in Latin-1, letters and signs in Windows 1252
KEPT = re.compile("[\ud800-\udfff]")  # bytes that could not be decoded
SEPARATORS = ("::", "\t", "|", ";", ",")


@dataclass(frozen=True, slots=True)
class Form:
    """How a text file is written, as declared or as recognised."""

    encoding: str
    separator: str
    quote: str
    header: bool
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was recognised that the user should know


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The (unpacked) bytes of a file, and the file itself, whose position tells how far reading has come."""
    if not path.is_file():
        raise NotFound("no such file", where=str(path), hint="check the path; patterns such as data/*.csv need quotes")
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield (gzip.GzipFile(fileobj=raw) if packed else raw), raw  # type: ignore[misc]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"the gzip file is damaged: {error}",
                where=str(path),
                hint="copy the file again, or unpack what is left",
            ) from error


def recognise_encoding(path: Path) -> tuple[str, str]:
    """The encoding of a file and, when it had to be guessed, a sentence that says so. Never a guess for valid UTF-8."""
    with opened(path) as (data, _):
        start = data.read(4096)
        for mark, name in (
            (codecs.BOM_UTF8, "utf-8-sig"),
            (codecs.BOM_UTF16_LE, "utf-16"),
            (codecs.BOM_UTF16_BE, "utf-16"),
        ):
            if start.startswith(mark):
                return name, ""
        if len(start) > 1 and start.count(0) > len(start) // 4:
            name = "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
            return name, f"read as {name}: every second byte is zero"
        decoder = codecs.getincrementaldecoder("utf-8")()
        seen, block, before = 0, start, b""
        try:
            while block and seen < SAMPLE:
                decoder.decode(block)
                seen, before, block = seen + len(block), block, data.read(CHUNK)
            decoder.decode(b"", final=not block)
            return "utf-8", ""
        except UnicodeDecodeError:
            block = before + block + data.read(CHUNK)
    control = any(byte in C1 for byte in set(block))
    name = "cp1252" if control else "latin-1"
    return name, f"not UTF-8: read as {name}; if letters look wrong, declare `encoding`"


def _undecodable(error: UnicodeError) -> tuple[str, int]:
    """Keep what cannot be decoded as lone surrogates, so that its row can be rejected instead of the file."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("shortlist.keep", _undecodable)


def chunks(path: Path, encoding: str) -> Iterator[tuple[list[str], float, bool]]:
    """Whole lines of a file without their line ends, the share of the file read, and whether these are the last."""
    size = max(path.stat().st_size, 1) if path.is_file() else 1
    try:
        decoder = codecs.getincrementaldecoder(encoding)("shortlist.keep")
    except LookupError:
        raise DataError(
            f"no encoding is called {encoding!r}", where=str(path), hint='for example "utf-8", "latin-1", "utf-16"'
        ) from None
    with opened(path) as (data, raw):
        carry, end = "", ""
        while True:
            block = data.read(CHUNK)
            text = carry + decoder.decode(block, final=not block)
            if not end and ("\n" in text or "\r" in text.rstrip("\r")):
                end = "\n" if "\n" in text else "\r"
            lines = text.split(end) if end else [text]
            if not block:
                if lines and not lines[-1]:
                    lines.pop()
                yield lines, 1.0, True
                return
            carry = lines.pop()
            if len(carry) > LONGEST:
                raise DataError(
                    f"no line end in {LONGEST:,} characters",
                    where=str(path),
                    hint="this does not look like a table in text",
                )
            yield lines, raw.tell() / size, False


def recognise(path: Path, mapping: Mapping) -> Form:
    """The form of a text table: what the mapping declares, and the rest from its first lines."""
    encoding, note = (mapping.encoding, "") if mapping.encoding else recognise_encoding(path)
    lines: list[str] = []
    for part, _, _ in chunks(path, encoding):
        lines += [line.rstrip("\r") for line in part[: 500 - len(lines)] if line.strip()]
        if len(lines) >= 500:
            break
    if not lines:
        raise DataError("the file is empty", where=str(path), hint="write at least one row")
    separator = mapping.separator or _separator(lines, mapping.quote)
    quote = mapping.quote
    rows = [row for row in (cut(line, separator, quote) for line in lines[:200]) if row is not None] or [[lines[0]]]
    first = [name.strip() for name in rows[0]]
    header = mapping.header == "yes" or (
        mapping.header == "auto" and not mapping.names and _is_header(first, rows[1:], mapping)
    )
    if mapping.names:
        names = mapping.names
    elif header:
        names = _unique(first)
    else:
        names = tuple(f"column_{i + 1}" for i in range(_width(rows)))
    return Form(encoding, separator, quote, header, names, (note,) if note else ())


def cut(line: str, separator: str, quote: str) -> list[str] | None:
    """The fields of one line that is a whole record, None when it is not."""
    read = _record([line], 0, separator, quote) if quote and quote in line else None
    if read is None:
        return line.split(separator)
    return read[0]


def _width(rows: list[list[str]]) -> int:
    widths = [len(row) for row in rows]
    return max(set(widths), key=widths.count)


def _separator(lines: Sequence[str], quote: str) -> str:
    """The separator that cuts most lines into the same number of fields; the wider table when two do."""

    def merit(separator: str) -> tuple[float, int]:
        widths = [len(row) for row in (cut(line, separator, quote) for line in lines[:200]) if row]
        usual = max(set(widths), key=widths.count) if widths else 1
        return (round(widths.count(usual) / len(widths), 1) if usual > 1 else 0.0, usual)

    best = max(SEPARATORS, key=merit)
    return best if merit(best)[1] > 1 else ","


def _is_header(first: list[str], rest: list[list[str]], mapping: Mapping) -> bool:
    wanted = {*mapping.ids, mapping.value, mapping.time, mapping.kind_column, *mapping.columns, *mapping.rename} - {""}
    if wanted & set(first):
        return True
    known = sum(plain(name) in ALL for name in first)
    if known >= 2:
        return True
    if len(set(first)) < len(first) or not all(first) or any(_is_number(name) for name in first):
        return False
    if known:
        return True
    return any(
        sum(_is_number(row[i]) for row in rest if i < len(row)) > len(rest) * 0.8 for i in range(len(first)) if rest
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    out: list[str] = []
    for i, name in enumerate(names):
        name = name or f"column_{i + 1}"
        out.append(name if name not in out else f"{name}_{i + 1}")
    return tuple(out)


def read(path: Path, form: Form) -> Iterator[Batch]:
    """The rows of a text table. Lines that are no whole record become rejects; blank lines are no rows."""
    waiting: list[str] = []
    line, skip = 1, form.header
    for part, done, last in chunks(path, form.encoding):
        lines = waiting + part
        if skip:
            start = next((i for i, each in enumerate(lines) if each.strip()), None)
            if start is None:
                line, waiting = line + len(lines), []
                continue
            used = _record(lines, start, form.separator, form.quote)
            line, lines, skip = (
                line + start + (used[1] if used else 1),
                lines[start + (used[1] if used else 1) :],
                False,
            )
        batch, taken = _batch(lines, line, form, done, last)
        waiting = lines[taken:]
        line += taken
        if len(batch.line) or batch.bad:
            yield batch


def _batch(lines: list[str], first: int, form: Form, done: float, last: bool) -> tuple[Batch, int]:
    """The rows that begin in `lines`, and how many lines they took: not all when the last is still open."""
    lines, bad, broken = _decodable(lines, first)
    width = len(form.names)
    series = pl.Series(lines, dtype=pl.String).str.strip_suffix("\r")
    fields = series.str.split_exact(form.separator, width).struct.unnest()
    clean = fields[f"field_{width - 1}"].is_not_null() & fields[f"field_{width}"].is_null()
    fields = fields.drop(f"field_{width}")
    if form.quote and series.str.contains(form.quote, literal=True).any():
        fields, whole = _unquoted(fields, form.quote)
        clean &= whole
    blank = series.str.strip_chars() == ""
    good = (clean & ~blank).to_numpy(writable=True)
    good[broken] = False
    odd_lines: list[int] = []
    odd_rows: list[list[str]] = []
    odd_text: list[str] = []
    taken, begin = len(lines), 0
    handled = set(broken)
    for i in np.flatnonzero(~(good | blank.to_numpy())).tolist():
        if i < begin or i in handled:
            continue
        record = _record(lines, i, form.separator, form.quote) if form.quote and form.quote in lines[i] else None
        if record is None and form.quote and form.quote in lines[i]:
            if not last and len(lines) - i < SPAN and _unclosed(lines, i, form):
                taken = i
                break
            bad.append(_bad_quote(first + i, lines[i], form))
            continue
        row, used = record or (lines[i].rstrip("\r").split(form.separator), 1)
        if len(row) != width:
            bad.append(_bad_width(first + i, lines[i], len(row), form))
            continue
        odd_lines.append(i)
        odd_rows.append(row)
        odd_text.append("\n".join(lines[i : i + used]))
        good[i : i + used] = False
        begin = i + used
    good[taken:] = False
    kept = np.flatnonzero(good)
    frame = fields.filter(good)
    frame.columns = list(form.names)
    text = series.filter(good)
    if odd_rows:
        order = np.argsort(np.concatenate((kept, odd_lines)), kind="stable")
        odd = pl.DataFrame(odd_rows, schema=dict.fromkeys(form.names, pl.String), orient="row")
        frame = pl.concat([frame, odd])[order]
        text = pl.concat([text, pl.Series(odd_text, dtype=pl.String)]).gather(order)
        kept = np.concatenate((kept, np.asarray(odd_lines, np.intp)))[order]
    return Batch(first + kept.astype(np.int64), frame, text, bad, done), taken


def _decodable(lines: list[str], first: int) -> tuple[list[str], list[Reject], list[int]]:
    try:
        "\n".join(lines).encode("utf-8")
        return lines, [], []
    except UnicodeEncodeError:
        pass
    lines, bad, broken = list(lines), [], []
    for i, each in enumerate(lines):
        if KEPT.search(each):
            lines[i] = KEPT.sub(lambda kept: f"\\x{ord(kept[0]) & 0xFF:02x}", each)
            broken.append(i)
            bad.append(
                Reject(
                    first + i,
                    lines[i],
                    "encoding",
                    "bytes that are no letters in the encoding of this file",
                    "declare the right `encoding`, or repair the line",
                )
            )
    return lines, bad, broken


def _unquoted(fields: pl.DataFrame, quote: str) -> tuple[pl.DataFrame, pl.Series]:
    """Take the quotation marks off fields that are quoted as a whole; true for rows where that settles every field."""
    whole = pl.lit(True)
    columns = []
    for name in fields.columns:
        field = pl.col(name)
        marks = field.str.count_matches(quote, literal=True)
        wrapped = (marks == 2) & field.str.starts_with(quote) & field.str.ends_with(quote)
        whole &= (marks == 0) | wrapped
        columns.append(pl.when(wrapped).then(field.str.strip_prefix(quote).str.strip_suffix(quote)).otherwise(field))
    out = fields.select(*columns, whole.fill_null(False).alias("whole"))
    return out.drop("whole"), out["whole"]


def _record(lines: Sequence[str], start: int, separator: str, quote: str) -> tuple[list[str], int] | None:
    """The record that begins at lines[start] and how many lines it takes; None when its quotes do not close."""
    if not quote:
        return lines[start].rstrip("\r").split(separator), 1
    one = separator if len(separator) == 1 else "\x1f"
    feed = (each.replace(separator, one) + "\n" for each in islice(lines, start, start + SPAN))
    reader = csv.reader(feed, delimiter=one, quotechar=quote, strict=True)
    try:
        row = next(reader)
    except (csv.Error, StopIteration):
        return None
    return row, reader.line_num


def _unclosed(lines: Sequence[str], start: int, form: Form) -> bool:
    """True when the record at `start` runs on past the lines at hand, rather than being wrong."""
    reader = csv.reader(
        (each.replace(form.separator, "\x1f") + "\n" for each in islice(lines, start, None)),
        delimiter="\x1f",
        quotechar=form.quote,
        strict=True,
    )
    try:
        next(reader)
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _bad_width(line: int, text: str, fields: int, form: Form) -> Reject:
    message = (
        f"{fields} fields, expected {len(form.names)} ({', '.join(form.names[:6])}{' ...' * (len(form.names) > 6)})"
    )
    return Reject(line, text, "columns", message, f"separate exactly {len(form.names)} fields by {form.separator!r}")


def _bad_quote(line: int, text: str, form: Form) -> Reject:
    return Reject(
        line,
        text,
        "quotes",
        f"a field opens with {form.quote} and does not close before the next {form.separator!r}",
        'double the quotation marks inside a quoted field, or set quote = "" when this file does not quote',
    )
