"""Columns as bytes, and columns that grow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shortlist.types import Column, Columns, Rows


def pack(columns: Columns) -> bytes:
    """Columns as msgpack: numbers as raw bytes with dtype and shape, texts (object arrays) as lists."""
    return msgspec.msgpack.encode({name: _packed(column) for name, column in columns.items()})


def unpack(data: bytes) -> dict[str, Column]:
    """The columns of `pack`; arrays of numbers are read-only views of `data`."""
    return {name: _unpacked(*each) for name, each in msgspec.msgpack.decode(data).items()}


def _packed(column: Column) -> tuple[str, list[int], Any]:
    if column.dtype == object:
        return "object", [len(column)], column.tolist()
    return column.dtype.str, list(column.shape), column.tobytes()


def _unpacked(dtype: str, shape: list[int], data: Any) -> Column:
    if dtype == "object":
        return objects([tuple(value) if isinstance(value, list) else value for value in data])
    return np.frombuffer(data, dtype).reshape(shape)


def save(path: Path, array: NDArray[Any]) -> None:
    """Write a .npy file. `np.save` would report a full disk without saying that it is full."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data)


def objects(values: list[Any]) -> NDArray[Any]:
    """(N,) object array of `values`, tuples kept whole."""
    return np.fromiter(values, object, len(values))


def blank(dtype: np.dtype[Any]) -> Any:
    """How "no value" reads in a column of this dtype."""
    return {"O": "", "f": np.nan, "i": -1}.get(dtype.kind, 0)


def oldest_times(oldest: Mapping[int, int]) -> NDArray[np.int64]:
    """(256,) by code of a kind: the time before which its events are too old; of other kinds none is."""
    limit = np.full(256, np.iinfo(np.int64).min)
    limit[list(oldest)] = list(oldest.values())
    return limit


class Growing:
    """A column by row that grows as rows are written. Its last slot is never written: unknown rows read it."""

    def __init__(self, dtype: Any, blank: Any, shape: tuple[int, ...] = ()) -> None:
        self.blank = blank
        self.values: NDArray[Any] = np.empty((1, *shape), dtype)
        self.values.fill(blank)

    def read(self, rows: Rows) -> NDArray[Any]:
        """(N, ...) the values at `rows`, blank where a row is negative or was never written."""
        values = self.values
        return values[np.minimum(rows.view(np.uint32), np.uint32(len(values) - 1))]  # negative rows are huge unsigned

    def writable(self, size: int) -> NDArray[Any]:
        """The values, with room for rows below `size`."""
        if size >= len(self.values):
            values = np.empty((max(size + 1, 2 * len(self.values)), *self.values.shape[1:]), self.values.dtype)
            values.fill(self.blank)
            values[: len(self.values)] = self.values
            self.values = values  # readers keep the old array, whole
        return self.values
