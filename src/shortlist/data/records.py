"""Lines into rows: all plain lines at once, as columns; those that quotation marks make odd one by one (RFC 4180)."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist.data.rows import Batch, Reject

SPAN = 200  # lines of one quoted record; a stray quotation mark may swallow no more
OPEN, WRONG = -1, 0
KEPT = re.compile("[\ud800-\udfff]")  # bytes that could not be decoded, see text.py


@dataclass(frozen=True, slots=True)
class Form:
    """How a text file is written, as declared or as recognised."""

    encoding: str
    separator: str
    quote: str
    header: bool
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was recognised that the user should know


def record(lines: Sequence[str], start: int, separator: str, quote: str) -> tuple[list[str], int]:
    """The record that begins at lines[start] and how many lines it takes: OPEN when they end inside quotation marks,
    WRONG when text follows a closing one."""
    if not quote or quote not in lines[start]:
        return lines[start].rstrip("\r").split(separator), 1
    one = separator if len(separator) == 1 else "\x1f"
    feed = (each.replace(separator, one) + "\n" for each in islice(lines, start, start + SPAN))
    reader = csv.reader(feed, delimiter=one, quotechar=quote, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error as error:
        return [], OPEN if "unexpected end of data" in str(error) else WRONG


@dataclass
class _Odd:
    """Records that were read one by one."""

    lines: list[int] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)


def columns_of(block: bytes, form: Form) -> pl.DataFrame | None:
    """The rows of whole UTF-8 lines, when nothing about any line is odd: no quotation mark, as many fields as there are
    names, not blank. None sends them to `batch_of`, which looks at each line and finds the same rows."""
    if form.quote and form.quote.encode() in block:
        return None
    if b"\r" in block and b"\r" in (block := block.replace(b"\r\n", b"\n")):
        return None
    schema = dict.fromkeys(form.names, pl.String)
    try:
        frame = pl.read_csv(block, has_header=False, separator=form.separator, quote_char=None, schema=schema)
    except pl.exceptions.PolarsError:
        return None
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    fields = block.count(form.separator.encode()) + lines
    if len(frame) != lines or fields != lines * len(form.names):
        return None
    if all(frame[name].null_count() for name in frame.columns):  # a line of separators may count as blank
        return None
    return frame.with_columns(pl.all().fill_null(""))


def batch_of(lines: list[str], first: int, form: Form, done: float, last: bool) -> tuple[Batch, int]:
    """The rows that begin in `lines`, and how many lines they took: not all when the last is still open."""
    lines, bad = _readable(lines, first)
    frame, text, plain = _plain(lines, form)
    plain[[reject.line - first for reject in bad]] = False
    odd, taken = _Odd(), len(lines)
    refused, begin = {reject.line - first for reject in bad}, 0
    blank = (text.str.strip_chars() == "").to_numpy()
    for i in np.flatnonzero(~plain & ~blank).tolist():
        if i < begin or i in refused:
            continue
        row, used = record(lines, i, form.separator, form.quote)
        if used == OPEN and not last and len(lines) - i < SPAN:
            taken = i
            break
        if used <= 0:
            bad.append(_quotes(first + i, lines[i], form))
        elif len(row) != len(form.names):
            bad.append(_columns(first + i, lines[i], len(row), form))
        elif not refused.isdisjoint(range(i, i + used)):
            bad.append(_letters(first + i, lines[i]))
        else:
            odd.lines.append(i)
            odd.rows.append(row)
            odd.text.append("\n".join(lines[i : i + used]))
            plain[i : i + used] = False
            begin = i + used
    plain &= ~blank
    plain[taken:] = False
    bad = [reject for reject in bad if reject.line < first + taken]
    line, frame, text = _joined(np.flatnonzero(plain), frame.filter(plain), text.filter(plain), odd)
    return Batch(first + line, frame, text, bad, done), taken


def _plain(lines: list[str], form: Form) -> tuple[pl.DataFrame, pl.Series, NDArray[np.bool_]]:
    """Every line cut at the separators, the lines themselves, and true where that is all there is to it."""
    width = len(form.names)
    text = pl.Series(lines, dtype=pl.String).str.strip_suffix("\r")
    frame = text.str.split_exact(form.separator, width).struct.unnest()
    plain = frame[f"field_{width - 1}"].is_not_null() & frame[f"field_{width}"].is_null()
    frame = frame.drop(f"field_{width}")
    frame.columns = list(form.names)
    if form.quote and text.str.contains(form.quote, literal=True).any():
        frame, whole = _unquoted(frame, form.quote)
        plain &= whole
    return frame, text, plain.to_numpy(writable=True)


def _unquoted(frame: pl.DataFrame, quote: str) -> tuple[pl.DataFrame, pl.Series]:
    """Take the quotation marks off fields that are quoted as a whole; true for rows where that settles every field."""
    whole = pl.lit(True)
    columns = []
    for name in frame.columns:
        cell = pl.col(name)
        marks = cell.str.count_matches(quote, literal=True)
        wrapped = (marks == 2) & cell.str.starts_with(quote) & cell.str.ends_with(quote)
        whole &= (marks == 0) | wrapped
        columns.append(pl.when(wrapped).then(cell.str.strip_prefix(quote).str.strip_suffix(quote)).otherwise(cell))
    settled = frame.select(whole.fill_null(False)).to_series()
    return frame.select(columns), settled


def _joined(
    line: NDArray[np.intp], frame: pl.DataFrame, text: pl.Series, odd: _Odd
) -> tuple[NDArray[np.int64], pl.DataFrame, pl.Series]:
    """Plain and odd rows in the order of their lines."""
    if not odd.lines:
        return line.astype(np.int64), frame, text
    line = np.concatenate((line, odd.lines))
    order = np.argsort(line, kind="stable")
    rows = pl.DataFrame(odd.rows, schema=dict.fromkeys(frame.columns, pl.String), orient="row")
    texts = pl.concat([text, pl.Series(odd.text, dtype=pl.String)]).gather(order)
    return line[order].astype(np.int64), pl.concat([frame, rows])[order], texts


def _readable(lines: list[str], first: int) -> tuple[list[str], list[Reject]]:
    """The lines with undecodable bytes written as \\xff, and a reject for each line that had some."""
    try:
        "\n".join(lines).encode("utf-8")
        return lines, []
    except UnicodeEncodeError:
        lines = list(lines)
    bad = []
    for i, each in enumerate(lines):
        if KEPT.search(each):
            lines[i] = spelled(each)
            bad.append(_letters(first + i, lines[i]))
    return lines, bad


def spelled(text: str) -> str:
    """`text` with the bytes that could not be decoded written as \\xff."""
    return KEPT.sub(lambda kept: f"\\x{ord(kept[0]) & 0xFF:02x}", text)


def _letters(line: int, text: str) -> Reject:
    message = "bytes that are no letters in the encoding of this file"
    return Reject(line, text, "encoding", message, "declare the right `encoding`, or repair the line")


def _columns(line: int, text: str, count: int, form: Form) -> Reject:
    names = ", ".join(form.names[:6]) + " ..." * (len(form.names) > 6)
    message = f"{count} fields, expected {len(form.names)} ({names})"
    return Reject(line, text, "columns", message, f"separate exactly {len(form.names)} fields by {form.separator!r}")


def _quotes(line: int, text: str, form: Form) -> Reject:
    message = f"a field opens with {form.quote} and does not close before the next {form.separator!r}"
    remedy = 'double the quotation marks inside a quoted field, or set quote = "" when this file does not quote'
    return Reject(line, text, "quotes", message, remedy)
