"""What a network reads of a candidate: the vectors of its codes and its numbers, end to end.

Columns that are the same for all candidates of a query come first, so that what a layer makes of them is worked out
once a query. Which these are was seen while learning; where it does not hold, every row is read by itself, with the
same result to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, NamedTuple

import numpy as np

from shortlist import _kernels
from shortlist.descent import Arrays, Tensors, dropped
from shortlist.errors import ShapeError
from shortlist.rank.layout import Field, Layout, constant, first_of
from shortlist.types import Candidates, Columns, Mask, Rows, Vectors

DEVIATION = 0.01  # of the vectors that learning starts from
EVERY = np.empty(0, np.int32)  # of `start`, for the kernels: one for all


class Read(NamedTuple):
    """Inputs in two parts: `shared` (G, S) by group of rows, `own` (N, K - S); `owner` (N,) the group of each row."""

    owner: Rows
    shared: Vectors
    own: Vectors

    def whole(self) -> Vectors:
        """(N, K)"""
        split = self.shared.shape[1]
        made = np.empty((len(self.own), split + self.own.shape[1]), np.float32)
        made[:, :split] = self.shared if len(self.shared) == 1 else self.shared[self.owner]
        made[:, split:] = self.own
        return made


class Batch(NamedTuple):
    """Some rows of what `Layout.encode` made, as tensors."""

    categories: dict[str, Any]
    lists: dict[str, Any]
    numbers: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """x @ weight + shift."""

    weight: Vectors  # (K, M)
    shift: Vectors  # (M,)

    def of(self, x: Vectors, *, relu: bool = False) -> Vectors:
        return _kernels.dense(x, self.weight, self.shift[None], EVERY, relu)

    def shifted(self, by: float) -> Layer:
        return Layer(self.weight, self.shift + np.float32(by))

    def of_read(self, read: Read, *, relu: bool = False) -> Vectors:
        """The same for `read.whole()`, the shared part worked out once a group."""
        return _kernels.dense(read.own, self.weight[read.shared.shape[1] :], self.begun(read), read.owner, relu)

    def begun(self, read: Read) -> Vectors:
        """(G, M) what the shared part comes to."""
        return _kernels.dense(read.shared, self.weight[: read.shared.shape[1]], self.shift[None], EVERY)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The first stage of a network; a list speaks by the mean of its codes' vectors."""

    layout: Layout
    table: Vectors  # (T, D) by row of the stacked table, row 0 zeros

    def __post_init__(self) -> None:
        if len(self.table) != len(self.layout.row):
            raise ShapeError(f"Inputs: {len(self.table)} vectors for {len(self.layout.row)} rows of the layout")

    def read(self, found: Candidates, without: Sequence[str] = ()) -> Read:
        """The inputs of every row, but for the columns `without`."""
        shared, own = halves(self.layout, without)
        owner, begins = self.groups(found, [each.name for each in shared])
        group = {each.name: found.columns[each.name][begins] for each in shared if each.name in found.columns}
        parts = (self._block(group, int(begins.sum()), shared), self._block(found.columns, len(found), own))
        return Read(owner, *parts)

    def groups(self, found: Candidates, names: Sequence[str]) -> tuple[Rows, Mask]:
        """(N,) the number of each row's group, and whether a group begins there: the queries, where each of the columns
        `names` says one thing in a query, otherwise the rows."""
        columns, first, row = found.columns, first_of(found.query), np.arange(len(found))
        if not all(constant(columns[name], first) for name in names if name in columns):
            first = row
        begins = first == row
        return (np.cumsum(begins) - 1).astype(np.int32), begins

    def means(self, places: Rows) -> Vectors:
        """(R, D) the mean vector of each list (R, L) of rows of the table; zeros of an empty one."""
        total: Vectors = self.table.take(places, axis=0).sum(axis=1)
        total /= np.maximum((places > 0).sum(axis=1), 1)[:, None].astype(np.float32)
        return total

    def _block(self, columns: Columns, rows: int, fields: Sequence[Field]) -> Vectors:
        encoded = self.layout.encode(columns, rows, fields)
        made = np.empty((rows, sum(width_of(each, self.table.shape[1]) for each in fields)), np.float32)
        at = 0
        for field in fields:
            end = at + width_of(field, self.table.shape[1])
            if field.kind == "number":
                made[:, at:end] = encoded.numbers[field.name]
            elif field.kind == "category":
                made[:, at:end] = self.table.take(encoded.categories[field.name], axis=0)
            else:
                made[:, at:end] = self.means(encoded.lists[field.name])
            at = end
        return made


def halves(layout: Layout, without: Sequence[str] = ()) -> tuple[list[Field], list[Field]]:
    """The columns in the order of the inputs: those that a query shares, and the others."""
    fields = [each for each in layout.fields if each.name not in without]
    return [each for each in fields if each.shared], [each for each in fields if not each.shared]


def width_of(field: Field, width: int) -> int:
    """How many inputs `field` makes when vectors have `width` numbers."""
    return field.inputs if field.kind == "number" else width


def inputs_of(layout: Layout, width: int, without: Sequence[str] = ()) -> int:
    """K, how many inputs there are in all."""
    return sum(width_of(each, width) for half in halves(layout, without) for each in half)


def start(layout: Layout, width: int, chance: np.random.Generator) -> Vectors:
    """The table that learning starts from; rows that no code reads are zeros."""
    table = chance.normal(0, DEVIATION, (len(layout.row), width)).astype(np.float32)
    read = np.zeros(len(table), np.bool_)
    read[layout.row] = True
    read[0] = False
    table[~read] = 0
    return table


def layers_of(sizes: Sequence[int], name: str, chance: np.random.Generator) -> Arrays:
    """What dense layers of these sizes, one after another, start from (He et al. 2015)."""
    made: Arrays = {}
    for number, (height, width) in enumerate(pairwise(sizes)):
        drawn = chance.normal(0, np.sqrt(2 / max(1, height)), (height, width))
        made[f"{name}.{number}.weight"] = drawn.astype(np.float32)
        made[f"{name}.{number}.shift"] = np.zeros(width, np.float32)
    return made


def stacked(arrays: Arrays, name: str) -> tuple[Layer, ...]:
    """The layers that `layers_of` began."""
    layers = next(n for n in count() if f"{name}.{n}.weight" not in arrays)
    return tuple(Layer(arrays[f"{name}.{n}.weight"], arrays[f"{name}.{n}.shift"]) for n in range(layers))


def through(read: Read, layers: Sequence[Layer]) -> Vectors:
    """(N, M) what the last of `layers` gives, each bent at 0."""
    state = layers[0].of_read(read, relu=True)
    for layer in layers[1:]:
        state = layer.of(state, relu=True)
    return state


def embedded(torch: Any, parameters: Tensors, layout: Layout, batch: Batch, without: Sequence[str] = ()) -> Any:
    """(n, K) the inputs as `Inputs.read` gives them, with PyTorch, of a batch of tensors."""
    fields = [each for half in halves(layout, without) for each in half]
    places = {each.name: {**batch.categories, **batch.lists}[each.name] for each in fields if each.kind != "number"}
    vectors = looked_up(torch, parameters["table"], list(places.values()))
    spoken = dict(zip(places, vectors, strict=True))
    for name, rows in places.items():
        if rows.dim() == 2:
            spoken[name] = spoken[name].sum(1) / (rows > 0).sum(1, keepdim=True).clamp(min=1)
    return torch.cat([batch.numbers[each.name] if each.kind == "number" else spoken[each.name] for each in fields], 1)


def looked_up(torch: Any, table: Any, places: Sequence[Any]) -> list[Any]:
    """The rows of `table` at each of `places`, looked up together: one gradient of the size of the table, not many."""
    if not places:
        return []
    vectors = torch.nn.functional.embedding(torch.cat([each.reshape(-1) for each in places]), table, padding_idx=0)
    parts = vectors.split([each.numel() for each in places])
    return [part.reshape(*each.shape, -1) for part, each in zip(parts, places, strict=True)]


def stack(torch: Any, parameters: Tensors, name: str, state: Any, dropout: float) -> Any:
    """`through` with PyTorch; `dropout` is the share of states left out."""
    number = 0
    while f"{name}.{number}.weight" in parameters:
        state = torch.relu(state @ parameters[f"{name}.{number}.weight"] + parameters[f"{name}.{number}.shift"])
        state = dropped(torch, state, dropout)
        number += 1
    return state
