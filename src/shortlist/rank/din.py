"""Deep interest network: what of a history counts depends on the candidate (Zhou et al., KDD 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist import _kernels
from shortlist.descent import Arrays, Tensors
from shortlist.errors import ConfigError
from shortlist.rank import inputs, labels
from shortlist.rank.inputs import Batch, Inputs, Layer
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Queries, Rows, Scores, Vectors

SIZES = (64, 16)  # of the dense layers that weigh a thing of the past by the candidate


@dataclass(frozen=True, slots=True)
class Din:
    """The fine ranker for people with a history: each list of `same` is weighed place by place by the candidate's own
    code, and by how long ago that place is; the rest is read by dense layers.

    Weights do not add up to 1, so that much of a kind in the past says more than a little.
    """

    same: Mapping[str, str]  # list column -> the category column whose codes it holds: what weighs it
    columns: tuple[str, ...] = ()  # empty = all there are, by name
    width: int = 16  # numbers of the vector of a code
    layers: tuple[int, ...] = (128, 128)
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        if not self.same:
            raise ConfigError("names no list of the past", where="rank.din: same", hint='same = { recent = "item" }')

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> DinModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        lists = {each.name: each.width for each in layout.fields if each.name in self.same}
        chance = np.random.default_rng(seed)
        start: Arrays = {"table": inputs.start(layout, self.width, chance)}
        for name, places in lists.items():
            for part in ("past", "present", "both"):
                drawn = chance.normal(0, np.sqrt(2 / (3 * self.width)), (self.width, SIZES[0]))
                start[f"{name}.{part}"] = drawn.astype(np.float32)
            start[f"{name}.place"] = np.zeros((places, SIZES[0]), np.float32)
            start |= inputs.layers_of((*SIZES, 1), name, chance)
        wide = inputs.inputs_of(layout, self.width, tuple(lists)) + len(lists) * self.width
        start |= inputs.layers_of((wide, *self.layers), "deep", chance)
        start |= inputs.layers_of((self.layers[-1], 1), "last", chance)

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            spoken = [inputs.embedded(torch, parameters, layout, batch, tuple(lists))]
            for name in lists:
                spoken.append(self._interest(torch, parameters, batch, name))
            dropout = self.learning.dropout if learn else 0.0
            state = inputs.stack(torch, parameters, "deep", torch.cat(spoken, 1), dropout)
            return state @ parameters["last.0.weight"] + parameters["last.0.shift"]

        arrays = self.learning.run(self, layout, found, label, start, forward, seed=seed, weight=weight)
        arrays["last.0.shift"] = arrays["last.0.shift"] + np.float32(self.learning.shift)
        interests = tuple(_interest(arrays, name, self.same[name]) for name in lists)
        deep, last = inputs.stacked(arrays, "deep"), inputs.stacked(arrays, "last")
        return DinModel(Inputs(layout, arrays["table"]), interests, deep, last[0])

    def _interest(self, torch: Any, parameters: Tensors, batch: Batch, name: str) -> Any:
        """(n, D) the sum of the vectors of list `name`, each weighed."""
        places = batch.lists[name]
        past, present = inputs.looked_up(
            torch, parameters["table"], [places, batch.categories[self.same[name]][:, None]]
        )
        state = past @ parameters[f"{name}.past"] + present @ parameters[f"{name}.present"]
        state = state + (past * present) @ parameters[f"{name}.both"] + parameters[f"{name}.place"]
        state = torch.relu(state) @ parameters[f"{name}.0.weight"] + parameters[f"{name}.0.shift"]
        weight = torch.relu(state) @ parameters[f"{name}.1.weight"] + parameters[f"{name}.1.shift"]
        return (weight * (places > 0)[..., None] * past).sum(1)


@dataclass(frozen=True, slots=True)
class Interest:
    """How one list is weighed by the code of column `by`: [past, present, past · present] through dense layers. With
    the difference of both, as in the paper, it would be the same function."""

    name: str
    by: str
    past: Vectors  # (D, A)
    present: Vectors  # (D, A)
    both: Vectors  # (D, A)
    place: Vectors  # (L, A) what the place in the list adds
    layers: tuple[Layer, ...]  # to one number

    def of(self, past: Vectors, held: Rows, present: Vectors, owner: Rows) -> Vectors:
        """(N, D) the weighed sums, for lists (G, L, D) of which `held` (G, L) is above 0, and codes (N, D)."""
        count = (held > 0).sum(axis=1)
        row = np.repeat(np.arange(len(owner), dtype=np.int32), count[owner])
        cell = np.flatnonzero(held.ravel() > 0)
        begin = np.cumsum(count) - count
        inner = np.arange(len(row)) - np.repeat(np.cumsum(count[owner]) - count[owner], count[owner])
        cell = cell[begin[owner][row] + inner]  # of the lists, for each pair of a row and a place
        flat = past.reshape(-1, past.shape[-1])
        zero = np.zeros((1, self.past.shape[1]), np.float32)
        left = _kernels.dense(flat, self.past, zero, inputs.EVERY) + np.tile(self.place, (len(past), 1))
        right = _kernels.dense(present, self.present, zero, inputs.EVERY)
        near = flat[cell]
        begun = left[cell] + right[row]
        state = _kernels.dense(near * present[row], self.both, begun, np.arange(len(row), dtype=np.int32), True)
        weight = self.layers[1].of(self.layers[0].of(state, relu=True))
        total = np.zeros((len(owner), past.shape[-1]), np.float32)
        filled = count[owner] > 0
        if len(row):
            first = (np.cumsum(count[owner]) - count[owner])[filled]
            total[filled] = np.add.reduceat(weight * near, first, axis=0)
        return total


@dataclass(frozen=True, slots=True)
class DinModel:
    """Probability of each row."""

    inputs: Inputs
    interests: tuple[Interest, ...]
    deep: tuple[Layer, ...]
    last: Layer

    def score(self, queries: Queries, found: Candidates) -> Scores:
        read = self.inputs.read(found, tuple(each.name for each in self.interests))
        spoken = [read.own, *(self._spoken(found, each) for each in self.interests)]
        state = inputs.through(read._replace(own=np.concatenate(spoken, axis=1)), self.deep)
        return labels.sigmoid(self.last.of(state)[:, 0])

    def shifted(self, by: float) -> DinModel:
        return replace(self, last=self.last.shifted(by))

    def _spoken(self, found: Candidates, interest: Interest) -> Vectors:
        owner, begins = self.inputs.groups(found, [interest.name])
        fields = {each.name: each for each in self.inputs.layout.fields}
        some = {name: each[begins] for name, each in found.columns.items() if name == interest.name}
        layout, table = self.inputs.layout, self.inputs.table
        held = layout.encode(some, int(begins.sum()), [fields[interest.name]]).lists[interest.name]
        code = layout.encode(found.columns, len(found), [fields[interest.by]]).categories[interest.by]
        return interest.of(table[held], held, table[code], owner)


def _interest(arrays: Arrays, name: str, by: str) -> Interest:
    past, present, both, place = (arrays[f"{name}.{part}"] for part in ("past", "present", "both", "place"))
    return Interest(name, by, past, present, both, place, inputs.stacked(arrays, name))
