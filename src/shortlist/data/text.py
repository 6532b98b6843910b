"""Text files: which encoding, which separator, and their lines in bounded memory."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from shortlist.data.mapping import Mapping
from shortlist.data.records import Form, batch_of, columns_of, record, spelled
from shortlist.data.roles import ALL, plain
from shortlist.data.rows import Batch
from shortlist.errors import DataError, NotFound

CHUNK = 16 << 20  # bytes read at a time: about 500,000 rows of events
START = 64 << 10  # bytes read first: the header, and a first sign of progress
LONGEST = 16 << 20  # characters of one line
SAMPLE = 64 << 20  # bytes looked at to recognise the encoding
C1 = range(0x80, 0xA0)  # control characters in Latin-1, letters and signs in Windows 1252
SEPARATORS = ("::", "\t", "|", ";", ",")


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
                raise _endless(path)
            yield lines, raw.tell() / size, False


def _endless(path: Path) -> DataError:
    return DataError(
        f"no line end in {LONGEST:,} characters", where=str(path), hint="this does not look like a table in text"
    )


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
    rows = [record([line], 0, separator, quote)[0] for line in lines[:200]]
    rows = [row for row in rows if row] or [[lines[0]]]
    first = [spelled(name.strip()) for name in rows[0]]
    found = mapping.header == "auto" and not mapping.names and _is_header(first, rows[1:], mapping)
    header = mapping.header == "yes" or found
    if mapping.names:
        names = mapping.names
    elif header:
        names = _unique(first)
    else:
        names = tuple(f"column_{i + 1}" for i in range(_width(rows)))
    return Form(encoding, separator, quote, header, names, (note,) if note else ())


def _width(rows: list[list[str]]) -> int:
    widths = [len(row) for row in rows]
    return max(set(widths), key=widths.count)


def _separator(lines: Sequence[str], quote: str) -> str:
    """The separator that cuts most lines into the same number of fields; the wider table when two do."""

    def merit(separator: str) -> tuple[float, int]:
        rows = (record([line], 0, separator, quote)[0] for line in lines[:200])
        widths = [len(row) for row in rows if row]
        usual = max(set(widths), key=widths.count) if widths else 1
        return (round(widths.count(usual) / len(widths), 1) if usual > 1 else 0.0, usual)

    best = max(SEPARATORS, key=merit)
    return best if merit(best)[1] > 1 else ","


def _is_header(first: list[str], rest: list[list[str]], mapping: Mapping) -> bool:
    wanted = {*mapping.ids, mapping.value, mapping.time, mapping.kind_column, *mapping.columns, *mapping.rename} - {""}
    if wanted & set(first):
        return True
    known = sum(plain(name) in ALL for name in first)
    if known < 2 and (len(set(first)) < len(first) or not all(first) or any(map(_is_number, first))):
        return False
    numbers = [sum(_is_number(row[i]) for row in rest if i < len(row)) for i in range(len(first))]
    return bool(known or (rest and max(numbers) > 0.8 * len(rest)))


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


def blocks(path: Path) -> Iterator[tuple[bytes, float, bool]]:
    """Whole lines of a UTF-8 file as they stand, the share of the file read, and whether these are the last."""
    size = max(path.stat().st_size, 1)
    with opened(path) as (data, raw):
        carry = data.read(START).removeprefix(codecs.BOM_UTF8)
        while block := data.read(CHUNK):
            whole = carry.rfind(b"\n") + 1
            if whole:
                yield carry[:whole], raw.tell() / size, False
            elif len(carry) > LONGEST:
                raise _endless(path)
            carry = carry[whole:] + block
        yield carry, 1.0, True


def _parts(path: Path, form: Form) -> Iterator[tuple[bytes | list[str], float, bool]]:
    """The lines of a file: as bytes where they can be cut as they stand, decoded one by one otherwise."""
    if form.encoding in ("utf-8", "utf-8-sig") and len(form.separator.encode()) == 1 and len(form.names) > 1:
        with opened(path) as (data, _):
            unix = b"\n" in data.read(START)
        if unix:
            return blocks(path)
    return chunks(path, form.encoding)


def _lines(block: bytes) -> list[str]:
    lines = block.decode("utf-8", "shortlist.keep").split("\n")
    if not lines[-1]:
        lines.pop()
    return lines


def read(path: Path, form: Form) -> Iterator[Batch]:
    """The rows of a text table. Lines that are no whole record become rejects; blank lines are no rows.

    The next batch is cut by another thread while the caller works on one.
    """
    batches = _batches(path, form)
    with ThreadPoolExecutor(1, "shortlist-read") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _batches(path: Path, form: Form) -> Iterator[Batch]:
    waiting: list[str] = []
    line, skip = 1, form.header
    for part, done, last in _parts(path, form):
        if isinstance(part, bytes):
            frame = None if skip or waiting else columns_of(part, form)
            if frame is not None:
                yield Batch(np.arange(line, line + len(frame)), frame, part, (), done)
                line += len(frame)
                continue
            part = _lines(part)
        lines = waiting + part
        if skip:
            start = next((i for i, each in enumerate(lines) if each.strip()), len(lines))
            if start < len(lines):
                start += max(1, record(lines, start, form.separator, form.quote)[1])
                skip = False
            line, lines = line + start, lines[start:]
        batch, taken = batch_of(lines, line, form, done, last)
        waiting = lines[taken:]
        line += taken
        if len(batch.line) or batch.bad:
            yield batch
