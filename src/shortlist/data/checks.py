"""What is asked of a cell, and the words in which a row is refused: what happened, in which column, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from shortlist.data import times
from shortlist.data.rows import Reject

CONTROL = r"[\x00-\x1f\x7f]"
NULL_WORDS = ("null", "none", "nan", "na", "n/a", "\\n", "<na>")

REFUSALS: Mapping[str, tuple[str, str]] = {
    "missing-user": ("no user in {column}", "give every row its user"),
    "missing-item": ("no item in {column}", "give every row its item"),
    "id-long": ("an id in {column} is longer than 256 bytes", "shorten or hash it, in every source alike"),
    "id-control": ("an id in {column} holds a control character", "take line ends and the like out of ids"),
    "unknown-kind": (
        "{cell} in {column} is no kind of event",
        'map it (kinds = {{ {bare} = "click" }}) or declare it: [events.kinds.{bare}] code = 100',
    ),
    "value": ("{cell} in {column} is no number", "write 3.5, not 3,5; list texts that mean no value in `missing`"),
    "missing-value": ("no value in {column}", "leave `value` out of the mapping when events carry none"),
    "value-range": ("{cell} in {column} is not finite", "NaN and infinity say nothing about anybody"),
    "missing-time": ("no time in {column}", "give every event its time, or leave `time` out to use the order of rows"),
    "time": ("{cell} in {column} is no time in the unit of this source", "{doubt}"),
    "time-range": ("{cell} in {column} lies before 1971 or after 2099", "{doubt}"),
    "missing-id": (
        "no event id in {column}",
        "give every event an id, or leave `id` out: equal rows are then one",
    ),
    "unknown-item": (
        "the item {cell} is not in the catalogue",
        'load items first, or set unknown_items = "hold"',
    ),
    "unknown-user": ("the user {cell} is not known", 'load users first, or set unknown_users = "create"'),
    "number": ("{cell} in {column} is no finite number", "{mend}"),
    "date": ("{cell} in {column} is no time in the unit of this source", "{mend}"),
    "flag": ("{cell} in {column} is neither true nor false", "{mend}"),
}
MEND = "mend the cell, list texts that mean no value in `missing`, or declare the column as text"


def refusal(line: int, row: str, reason: str, column: str, cell: Any) -> Reject:
    """The reject of one row for a reason of REFUSALS."""
    message, remedy = REFUSALS[reason]
    words = {"column": f"column {column!r}", "cell": repr(cell), "bare": cell, "mend": MEND, "doubt": ""}
    if reason.startswith("time"):
        words["doubt"] = times.doubt(str(cell))
    return Reject(line, row, reason, message.format(**words), remedy.format(**words))


def without(column: pl.Series, missing: Sequence[str]) -> pl.Series:
    """The column with the texts that stand for no value as nulls."""
    if column.dtype != pl.String:
        return column
    return pl.select(pl.when(~column.is_in(list(missing))).then(column).alias(column.name)).to_series()


def number(column: pl.Series) -> pl.Series:
    """Numbers, null where the text is none. A truth value is no number."""
    if column.dtype == pl.String:
        bare = column.cast(pl.Float64, strict=False)
        if bare.null_count() == column.null_count():
            return bare
        return column.str.strip_chars().cast(pl.Float64, strict=False)
    if column.dtype.is_numeric():
        return column.cast(pl.Float64)
    return pl.Series(column.name, [None] * len(column), pl.Float64)


def odd_ids(ids: pl.Series) -> Iterator[tuple[str, int]]:
    """Sentences about ids that look as if something else was meant, and how many they are about."""
    seen = ids.unique().drop_nulls()
    for what, odd in (
        ("begin with 0 and are kept as text", seen.str.contains(r"^0\d+$")),
        ("look like numbers that were rounded on the way, and are kept as text", seen.str.contains(r"^\d+\.0$")),
        ("begin or end with a space, which is part of the id", seen != seen.str.strip_chars()),
        ("are a word for nothing; list it in `missing` if it is one", seen.str.to_lowercase().is_in(NULL_WORDS)),
    ):
        if odd.any():
            yield f"{what}, such as {seen.filter(odd)[0]!r}", int(odd.sum())
