"""The columns that a ranker reads, in order, and what it makes of each: part of every learned model.

float32 (N,) or (N, w) are numbers, NaN = no value. Integers (N,) are category codes, (N, L) lists of codes, newest
last, filled up with 0 in front. Codes: 0 = no value, 1 = a value that the vocabulary does not know, from 2 on known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.errors import ConfigError, ShapeError
from shortlist.types import Candidates, Column, Columns, Rows, Vectors

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Kind: TypeAlias = Literal["number", "category", "list"]
CLIP = 8.0  # where scaled numbers end: about 1,500 interquartile ranges from the median
UNKNOWN = 1  # the code of a value that the vocabulary does not know
WIDEST = {"number": 4096, "category": 1, "list": 4096}
LARGEST = 1 << 26  # codes of one table
OUTPUTS = ("score", "fallback")  # columns that the pipeline adds, which say nothing of an item


@dataclass(frozen=True, slots=True)
class Field:
    """One column. Numbers own the inputs `at` .. `at + width`, then one that is 1 where a value is missing if any was
    missing in training (`gaps`); codes own the rows `at` .. `at + size` of the stacked table."""

    name: str
    kind: Kind
    width: int  # numbers, or places of the list; 1 for a category
    size: int  # highest code of training + 1, at least 2; 0 for numbers
    at: int
    gaps: bool
    shared: bool  # the same for all candidates of a query in training

    @property
    def inputs(self) -> int:
        """Numbers that it gives."""
        return self.width + self.gaps if self.kind == "number" else 0

    @property
    def names(self) -> list[str]:
        """What its numbers are called."""
        names = [self.name] if self.width == 1 else [f"{self.name}[{i}]" for i in range(self.width)]
        return [*names, f"{self.name} missing"] if self.gaps else names


class Encoded(NamedTuple):
    """Columns as a model reads them: rows of its stacked table (row 0 = nothing), and scaled numbers."""

    categories: dict[str, Rows]  # (N,) each
    lists: dict[str, Rows]  # (N, L) each
    numbers: dict[str, Vectors]  # (N, inputs) each


@dataclass(frozen=True, slots=True)
class Layout:
    """The ordered columns of a model, with the scales of numbers and the codes that were seen while learning.

    A number x becomes arsinh((x - median) / interquartile range), clipped: one absurd price changes nothing but itself,
    and that boundedly. A code that was not seen, or hardly, becomes 1. A column that is absent, because its source or
    feature failed, is read as "no value"; one of another kind or width is a ShapeError.
    """

    fields: tuple[Field, ...]
    row: Rows  # (T,) the row of the stacked table that is read for each code: its own, or that of code 1
    centre: NDArray[np.float64]  # (P,) medians, by input; 0 for inputs that tell of missing values
    scale: NDArray[np.float64]  # (P,) interquartile ranges, above 0

    @staticmethod
    def of(
        found: Candidates, names: Sequence[str] = (), *, same: Mapping[str, str] | None = None, least: int = 1
    ) -> Layout:
        """What `found` holds under `names` (empty = all but what the pipeline adds, by name).

        `same` names for a list the category whose codes it holds: they share a table. A code that occurs fewer than
        `least` times counts as unknown.
        """
        columns = found.columns
        absent = [name for name in names if name not in columns]
        if absent:
            raise ConfigError(
                f"the candidates have no column {', '.join(map(repr, absent))}",
                where="rank: columns",
                hint=f"sources and features give: {', '.join(sorted(columns))}",
            )
        chosen = tuple(names) or tuple(sorted(name for name in columns if name not in OUTPUTS))
        if not chosen:
            raise ConfigError("the candidates carry no column to rank by", where="rank: columns")
        return _Making(columns, chosen, dict(same or {}), least, first_of(found.query)).layout()

    def encode(self, columns: Columns, rows: int, fields: Sequence[Field] | None = None) -> Encoded:
        """`fields` (None = all) of a table of `rows` rows. What is encoded of a row depends on nothing but that row."""
        made = Encoded({}, {}, {})
        for field in self.fields if fields is None else fields:
            column = columns.get(field.name)
            if column is None:
                column = _nothing(field, rows)
            elif kind_of(column) != field.kind or width_of(column) != field.width:
                raise ShapeError(
                    f"column {field.name!r} is {_told(kind_of(column), width_of(column))}, but the ranker was learned"
                    f" with {_told(field.kind, field.width)}: train it again, or give the column as it was"
                )
            if field.kind == "number":
                made.numbers[field.name] = self._scaled(field, column)
            elif field.kind == "category":
                made.categories[field.name] = self._rows(field, column)
            else:
                places = self._rows(field, column.ravel()).reshape(column.shape)
                made.lists[field.name] = np.where(column > 0, places, np.int32(0))
        return made

    def absent(self, columns: Columns) -> list[str]:
        """The columns that the model reads and `columns` has not."""
        return [field.name for field in self.fields if field.name not in columns]

    def one_hot(self, columns: Columns, rows: int) -> csr_array:
        """(rows, F) the columns named by `inputs`: numbers, a 1 for the code, the share of each code in a list."""
        from scipy.sparse import csr_array

        encoded, place = self.encode(columns, rows), self._places()
        at, column, value = [], [], []
        every = np.arange(rows)
        for field in self.fields:
            if field.kind == "number":
                numbers = encoded.numbers[field.name]
                at.append(np.repeat(every, field.inputs))
                column.append(np.tile(place[field.name] + np.arange(field.inputs), rows))
                value.append(numbers.ravel())
                continue
            codes = encoded.lists[field.name] if field.kind == "list" else encoded.categories[field.name][:, None]
            held = codes > 0
            share = 1 / np.maximum(held.sum(axis=1), 1)
            first, level = place[field.name], self.levels(field)
            where = np.searchsorted(level, codes)
            held &= level[np.minimum(where, len(level) - 1)] == codes if len(level) else False
            at.append(np.repeat(every, codes.shape[1])[held.ravel()])
            column.append(first + where[held])
            value.append(np.repeat(share, codes.shape[1])[held.ravel()])
        parts = (np.concatenate(value).astype(np.float32), (np.concatenate(at), np.concatenate(column)))
        made = csr_array(parts, shape=(rows, len(self.inputs)))
        made.sum_duplicates()
        return made

    @property
    def inputs(self) -> tuple[str, ...]:
        """(F,) the names of the columns of `one_hot`: "price", "price missing", "vector[3]", "genre=2"."""
        names: list[str] = []
        for field in self.fields:
            if field.kind == "number":
                names += field.names
            else:
                names += [f"{field.name}={level - field.at}" for level in self.levels(field)]
        return tuple(names)

    def levels(self, field: Field) -> NDArray[np.int64]:
        """The rows of the stacked table that codes of `field` are read from, rising."""
        level = np.unique(self.row[field.at : field.at + field.size])
        level = level[level > (field.at if field.kind == "list" else 0)]
        return level.astype(np.int64)

    def _places(self) -> dict[str, int]:
        counts = [each.inputs if each.kind == "number" else len(self.levels(each)) for each in self.fields]
        begin = np.concatenate(([0], np.cumsum(counts)))
        return {field.name: int(at) for field, at in zip(self.fields, begin, strict=False)}

    def _rows(self, field: Field, code: Column) -> Rows:
        """Of codes (N,): a negative one is no value, one beyond the table is unknown."""
        table = self.row[field.at : field.at + field.size]
        known: Rows = ops.gather(table, np.maximum(code, 0), table[UNKNOWN])
        return known

    def _scaled(self, field: Field, column: Column) -> Vectors:
        numbers = column.astype(np.float64).reshape(len(column), field.width)
        gap = ~np.isfinite(numbers)
        inputs = slice(field.at, field.at + field.width)
        with np.errstate(over="ignore"):
            numbers = (np.where(gap, self.centre[inputs], numbers) - self.centre[inputs]) / self.scale[inputs]
        made = np.empty((len(column), field.inputs), np.float32)
        made[:, : field.width] = np.clip(np.arcsinh(numbers), -CLIP, CLIP)
        if field.gaps:
            made[:, field.width] = gap.any(axis=1)
        return made


def kind_of(column: Column) -> Kind:
    """What a column holds, by its dtype and shape."""
    if column.ndim in (1, 2):
        if column.dtype.kind == "f" or (column.dtype.kind == "b" and column.ndim == 1):
            return "number"
        if column.dtype.kind in "iu":
            return "category" if column.ndim == 1 else "list"
    raise ShapeError(
        f"a column is {column.dtype} {column.shape}, but rankers read floats (N,) or (N, w), integer codes (N,) or"
        " lists of codes (N, L)"
    )


def width_of(column: Column) -> int:
    """Numbers of a row, or places of its list."""
    return 1 if column.ndim == 1 else int(column.shape[1])


def _told(kind: Kind, width: int) -> str:
    return {"number": f"{width} numbers a row", "category": "a category", "list": f"a list of {width} codes"}[kind]


def _nothing(field: Field, rows: int) -> Column:
    if field.kind == "number":
        return np.full((rows, field.width), np.nan, np.float32)
    return np.zeros(rows if field.kind == "category" else (rows, field.width), np.int32)


def first_of(query: Rows) -> NDArray[np.intp]:
    """(N,) the first row of each row's query."""
    begins = np.concatenate((np.ones(min(1, len(query)), np.bool_), query[1:] != query[:-1]))
    first: NDArray[np.intp] = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    return first


def constant(column: Column, first: NDArray[np.intp]) -> bool:
    """Whether each row says the same as row `first` (N,) of its query; no value is the same as no value."""
    kind = column.dtype.kind
    raw = np.ascontiguousarray(column).view(f"i{column.dtype.itemsize}") if kind == "f" else column
    return bool((raw == raw[first]).all())


class _Making:
    """A layout in the making: counts of codes by table, offsets."""

    def __init__(
        self, columns: Columns, names: Sequence[str], same: Mapping[str, str], least: int, first: NDArray[np.intp]
    ) -> None:
        self.columns, self.names, self.same, self.least, self.first = columns, names, same, least, first
        for part, whole in same.items():
            if part in names and (whole not in names or kind_of(columns[whole]) != "category" or whole in same):
                raise ConfigError(f"{part!r} shall hold codes of {whole!r}, which is no category column", where="rank")

    def layout(self) -> Layout:
        many = bool(np.any(self.first != np.arange(len(self.first))))  # one candidate a query tells of no sharing
        count = self._count()
        begin = np.concatenate(([1], 1 + np.cumsum([len(each) for each in count.values()], dtype=np.int64)))
        at = {name: int(each) for name, each in zip(count, begin, strict=False)}
        row = np.arange(begin[-1], dtype=np.int32)
        for name, seen in count.items():
            mine = row[at[name] : at[name] + len(seen)]
            mine[seen < self.least] = at[name] + UNKNOWN
            rare = bool(((seen > 0) & (seen < self.least)).any())
            mine[UNKNOWN] = at[name] + UNKNOWN if seen[UNKNOWN] or rare else 0  # 0: nothing was learned for it
            mine[mine == at[name] + UNKNOWN] = mine[UNKNOWN]
        fields: list[Field] = []
        centre: list[float] = []
        scale: list[float] = []
        for name in self.names:
            column = self.columns[name]
            kind, width = kind_of(column), width_of(column)
            if not 1 <= width <= WIDEST[kind]:
                raise ShapeError(f"column {name!r} is {_told(kind, width)}; at most {WIDEST[kind]} are read")
            shared = many and constant(column, self.first)
            if kind == "number":
                numbers = column.astype(np.float64).reshape(len(column), width)
                gaps = not np.isfinite(numbers).all()
                fields.append(Field(name, kind, width, 0, len(centre), gaps, shared))
                for each in numbers.T:
                    middle, spread = _robust(each[np.isfinite(each)])
                    centre.append(middle)
                    scale.append(spread)
                centre += [0.0] * gaps
                scale += [1.0] * gaps
            else:
                table = self.same.get(name, name)
                fields.append(Field(name, kind, width, len(count[table]), at[table], False, shared))
        return Layout(tuple(fields), row, np.array(centre, np.float64), np.array(scale, np.float64))

    def _count(self) -> dict[str, NDArray[np.int64]]:
        """How often each code occurs, by table."""
        made: dict[str, NDArray[np.int64]] = {}
        for name in self.names:
            column = self.columns[name]
            if kind_of(column) == "number":
                continue
            code = np.maximum(column, 0).ravel()
            if len(code) and code.max() >= LARGEST:
                raise ConfigError(
                    f"column {name!r} has codes up to {code.max():,}; a table has fewer than {LARGEST:,} rows",
                    where="rank: columns",
                    hint="hash the values into fewer buckets",
                )
            counted = np.bincount(code, minlength=2).astype(np.int64)
            if kind_of(column) == "list":
                counted[0] = 0
            table = self.same.get(name, name)
            before = made.get(table, np.zeros(0, np.int64))
            wide = np.zeros(max(len(before), len(counted)), np.int64)
            wide[: len(before)] += before
            wide[: len(counted)] += counted
            made[table] = wide
        return made


def _robust(value: NDArray[np.float64]) -> tuple[float, float]:
    """Median and interquartile range; where half of the values are equal, what the outer tenths span, else 1."""
    if not len(value):
        return 0.0, 1.0
    low, lower, middle, upper, high = np.quantile(value, (0.05, 0.25, 0.5, 0.75, 0.95))
    spread = upper - lower or high - low or float(np.ptp(value)) or 1.0
    return float(middle), float(spread)
