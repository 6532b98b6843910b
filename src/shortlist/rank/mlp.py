"""A wide multilayer perceptron: dense layers over all columns, end to end (Covington, Adams, Sargin, RecSys 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist.descent import Arrays, Tensors
from shortlist.rank import inputs, labels
from shortlist.rank.inputs import Batch, Inputs, Layer
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Queries, Scores


@dataclass(frozen=True, slots=True)
class Mlp:
    """The ranker for columns that are numbers: a group of inputs is one column of any width, as the genres that a
    person likes, those of an item, what is known of each in figures."""

    columns: tuple[str, ...] = ()  # empty = all there are, by name
    same: Mapping[str, str] = field(default_factory=dict)  # list column -> the category column whose codes it holds
    width: int = 16  # numbers of the vector of a code
    layers: tuple[int, ...] = (256, 128, 64)
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> MlpModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        chance = np.random.default_rng(seed)
        start: Arrays = {"table": inputs.start(layout, self.width, chance)}
        start |= inputs.layers_of((inputs.inputs_of(layout, self.width), *self.layers), "deep", chance)
        start |= inputs.layers_of((self.layers[-1], 1), "last", chance)

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            state = inputs.embedded(torch, parameters, layout, batch)
            state = inputs.stack(torch, parameters, "deep", state, self.learning.dropout if learn else 0.0)
            return state @ parameters["last.0.weight"] + parameters["last.0.shift"]

        arrays = self.learning.run(self, layout, found, label, start, forward, seed=seed, weight=weight)
        arrays["last.0.shift"] = arrays["last.0.shift"] + np.float32(self.learning.shift)
        deep, last = inputs.stacked(arrays, "deep"), inputs.stacked(arrays, "last")
        return MlpModel(Inputs(layout, arrays["table"]), deep, last[0])


@dataclass(frozen=True, slots=True)
class MlpModel:
    """Probability of each row."""

    inputs: Inputs
    deep: tuple[Layer, ...]
    last: Layer

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return labels.sigmoid(self.last.of(inputs.through(self.inputs.read(found), self.deep))[:, 0])

    def shifted(self, by: float) -> MlpModel:
        return replace(self, last=self.last.shifted(by))
