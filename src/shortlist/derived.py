"""What is computed from a catalog's items and kept until the catalog changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from shortlist.protocols import Catalog
from shortlist.types import Column, Columns, Mask, Ragged, Rows, Vectors

T = TypeVar("T")


class Derived(Generic[T]):
    """A value of all items, computed when first asked for and again when the catalog's version has moved.

    Threads may compute it twice at once, never wrongly: the version is read before the items are.
    """

    def __init__(self, catalog: Catalog, compute: Callable[[], T]) -> None:
        self._catalog, self._compute = catalog, compute
        self._held: tuple[int, T] | None = None

    def __call__(self) -> T:
        version = self._catalog.version("item")
        held = self._held
        if held is None or held[0] != version:
            held = self._held = (version, self._compute())
        return held[1]


class ItemVectors:
    """Vectors of a catalog's items; asked again, it works out those alone whose facts have changed since.

    `work` makes (R, `width`) vectors of rows (R,) and of their columns `names`, as far as the catalog has them; nothing
    else may matter. Threads may ask at once: each compares with facts and vectors that belong together.
    """

    def __init__(
        self, catalog: Catalog, names: Sequence[str], width: int, work: Callable[[Rows, Columns], Vectors]
    ) -> None:
        self._catalog, self._names, self._work = catalog, names, work
        self._held: tuple[Columns, Vectors] = ({}, np.empty((0, width), np.float32))

    def __call__(self) -> Vectors:
        """(I, width), an array of its own each time."""
        rows, known = all_rows(self._catalog), set(self._catalog.names("item"))
        columns = self._catalog.read("item", rows, [name for name in self._names if name in known])
        before, vectors = self._held
        kept = len(vectors) if columns.keys() == before.keys() and len(vectors) <= len(rows) else 0
        changed = np.arange(len(rows)) >= kept
        if kept:
            for name, column in before.items():
                changed[:kept] |= _differs(columns[name][:kept], column)
        again = rows[changed]
        now = np.empty((len(rows), vectors.shape[1]), np.float32)
        now[:kept] = vectors[:kept]
        now[again] = self._work(again, {name: column[again] for name, column in columns.items()})
        self._held = (columns, now)
        return now


def _differs(now: Column, before: Column) -> Mask:
    """(R,) where the values are not the same; no number (NaN) is the same as no number."""
    differs: Mask = now != before
    return differs & ~(np.isnan(now) & np.isnan(before)) if now.dtype.kind == "f" else differs


def all_rows(catalog: Catalog, entity: str = "item") -> Rows:
    """(I,) every row of `entity`."""
    return np.arange(catalog.size(entity), dtype=np.int32)


def kind_of(column: Column) -> str:
    """What a catalog column holds: text, number, time, flag or list; "" when it has no row to tell text from list."""
    if column.dtype in (np.bool_, np.int8):
        return "flag"
    if column.dtype == np.int64:
        return "time"
    if column.dtype != np.object_:
        return "number"
    if not len(column):
        return ""
    return "text" if isinstance(column[0], str) else "list"


def values_of(column: Column) -> Ragged:
    """The different values of each row of a text or list column as codes: R lists of "code", numbered by first use."""
    lists = [(value,) if isinstance(value, str) else value for value in column.tolist()]
    number: dict[str, int] = {}
    coded = [[number.setdefault(value, len(number)) for value in dict.fromkeys(each) if value] for each in lists]
    return Ragged.of([{"code": each} for each in coded], {"code": np.int32})
