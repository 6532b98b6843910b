"""What every reader yields: batches of raw rows that know where they came from, and rows that could not be read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import polars as pl
from numpy.typing import NDArray

ID_BYTES = 256  # the longest id, in UTF-8


class Reject(NamedTuple):
    """One row that was not taken: kept with its reason, so that it can be mended and loaded."""

    line: int
    row: str
    reason: str  # a stable word: "columns", "missing-user", "value" ...
    message: str
    remedy: str
    user: str | None = None  # whose row it is; None where that cannot be read


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one source, in order, as they came: text stays text, numbers of typed sources keep their type."""

    line: NDArray[np.int64]  # (N,) line in the file, counted from 1; row number for sources without lines
    frame: pl.DataFrame  # N rows
    text: pl.Series | bytes | None = None  # (N,) each row as it stood in the file; bytes are cut when one is wanted
    bad: Sequence[Reject] = field(default_factory=list)  # rows that could not be cut into columns
    done: float = float("nan")  # share of the source read so far, NaN where that is unknown

    def rows(self, positions: NDArray[np.intp]) -> list[str]:
        """The rows at `positions` as text."""
        if isinstance(self.text, bytes):
            lines = self.text.split(b"\n") if len(positions) else []
            return [lines[at].decode("utf-8").removesuffix("\r") for at in positions.tolist()]
        if self.text is not None:
            return self.text.gather(positions).to_list()
        return [json.dumps(row, default=str, ensure_ascii=False) for row in self.frame[positions].iter_rows(named=True)]


def id_text(value: Any) -> str | None:
    """An id of a typed source as text; None when the value is no name: a fraction, a truth value, a list."""
    match value:
        case str():
            return value
        case bool():
            return None
        case int() | UUID():
            return str(value)
        case Decimal() if value == value.to_integral_value() and value.as_tuple().exponent == 0:
            return str(value)
        case bytes():
            try:
                return value.decode("utf-8")
            except UnicodeDecodeError:
                return None
    return None


def column(name: str, values: list[Any]) -> pl.Series:
    """A column of Python values with the narrowest type that holds them all without changing any; text otherwise."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {str}:
        return pl.Series(name, values, pl.String)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(name, values, pl.Int64)
    if kinds <= {int, float, Decimal} and kinds != {int}:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    if kinds <= {datetime, date}:
        return pl.Series(name, [_moment(value) for value in values], pl.Datetime("us"))
    if kinds <= {list, tuple}:
        return pl.Series(
            name, [None if value is None else list(map(_plain, value)) for value in values], pl.List(pl.String)
        )
    return pl.Series(name, [None if value is None else _plain(value) for value in values], pl.String)


def _moment(value: date | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def named_rows(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    line: NDArray[np.int64],
    ids: Sequence[str],
    text: list[str] | None,
) -> Batch:
    """A batch from rows of Python values. Ids become text; a row whose id is neither text nor a whole number is bad."""
    values = {name: list(each) for name, each in zip(names, zip(*rows, strict=True), strict=True)} if rows else {}
    bad: dict[int, Reject] = {}
    for name in ids:
        if name not in values:
            continue
        texts = [id_text(value) for value in values[name]]
        for i, (value, given) in enumerate(zip(texts, values[name], strict=True)):
            if value is None and given is not None and i not in bad:
                row = text[i] if text is not None else json.dumps(dict(zip(names, rows[i], strict=True)), default=str)
                bad[i] = Reject(
                    int(line[i]),
                    row,
                    "id-type",
                    f"column {name!r} holds {given!r}, which is no id",
                    "write ids as text or as whole numbers: 7.0 may have been 7 or '7.0'",
                )
        values[name] = texts
    frame = pl.DataFrame([column(name, each) for name, each in values.items()])
    texts_kept = None if text is None else pl.Series(text, dtype=pl.String)
    if bad:
        keep = np.ones(len(line), np.bool_)
        keep[list(bad)] = False
        frame, line = frame.filter(keep), line[keep]
        texts_kept = None if texts_kept is None else texts_kept.filter(keep)
    return Batch(line, frame, texts_kept, list(bad.values()))


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """An object array with one entry a value, tuples included."""
    out = np.empty(len(values), object)
    out[:] = values
    return out
