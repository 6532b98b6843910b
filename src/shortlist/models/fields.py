"""Facts of people and items as codes: what a model that reads them learns a vector for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist.derived import kind_of, values_of
from shortlist.types import Column, Columns, Ragged

STEPS = 10  # of numbers and times


@dataclass(frozen=True, slots=True)
class Fields:
    """Which values of which columns have a code. A text or list column has one for each value, a number, time or flag
    column for each of its steps; values that were not there when it was learned have none."""

    values: Mapping[str, tuple[str, ...]]  # text and list columns
    edges: Mapping[str, NDArray[np.float64]]  # number, time and flag columns: where each step but the first begins

    @staticmethod
    def of(columns: Columns, names: Sequence[str], least: int) -> Fields:
        """The codes of the columns `names` (those that are there; none named = all); a value needs `least` rows."""
        values: dict[str, tuple[str, ...]] = {}
        edges: dict[str, NDArray[np.float64]] = {}
        for name in names or sorted(columns):
            if name not in columns or not len(columns[name]):
                continue
            if kind_of(columns[name]) in ("text", "list"):
                values[name] = _frequent(columns[name], least)
            else:
                number = _number(columns[name])
                steps = np.quantile(number[~np.isnan(number)], np.arange(1, STEPS) / STEPS) if number.size else number
                edges[name] = np.unique(steps[~np.isnan(steps)])
        return Fields(values, edges)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.values, *self.edges)

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each column has, in the order of `names`; codes of one column follow one another."""
        return (*map(len, self.values.values()), *(len(edges) + 1 for edges in self.edges.values()))

    @property
    def size(self) -> int:
        """How many codes there are."""
        return sum(self.sizes)

    def codes(self, columns: Columns, rows: int) -> Ragged:
        """The codes of each of `rows` rows: lists of "code". Columns that are not there say nothing."""
        owner, code, first = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
        for name, known in self.values.items():
            if name in columns and kind_of(columns[name]) in ("text", "list"):
                number = {value: first + at for at, value in enumerate(known)}
                lists = [(each,) if isinstance(each, str) else each for each in columns[name].tolist()]
                found = [(row, number[value]) for row, each in enumerate(lists) for value in each if value in number]
                pairs = np.array(found, np.int64).reshape(-1, 2)
                owner.append(pairs[:, 0])
                code.append(pairs[:, 1])
            first += len(known)
        for name, edges in self.edges.items():
            if name in columns and kind_of(columns[name]) not in ("text", "list"):
                value = _number(columns[name])
                there = np.flatnonzero(~np.isnan(value))
                owner.append(there)
                code.append(first + np.searchsorted(edges, value[there], side="right"))
            first += len(edges) + 1
        owners = np.concatenate(owner)
        order = np.argsort(owners, kind="stable")
        ptr = np.concatenate(([0], np.cumsum(np.bincount(owners, minlength=rows)))).astype(np.int64)
        return Ragged(ptr, {"code": np.concatenate(code)[order]})


def _number(column: Column) -> NDArray[np.float64]:
    """(R,) a number, time or flag column; NaN where there is no value."""
    value = column.astype(np.float64)
    return value if kind_of(column) == "number" else np.where(value < 0, np.nan, value)


def _frequent(column: Column, least: int) -> tuple[str, ...]:
    """The values of at least `least` rows, sorted."""
    coded = values_of(column)
    count = np.bincount(coded["code"])
    named: dict[str, None] = {}
    for each in column.tolist():
        named.update(dict.fromkeys(value for value in ((each,) if isinstance(each, str) else each) if value))
    return tuple(sorted(value for value, many in zip(named, count.tolist(), strict=True) if many >= least))
