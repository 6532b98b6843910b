"""DeepFM: a factorisation machine and dense layers over the same vectors, added up (Guo et al., IJCAI 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist.descent import Tensors
from shortlist.rank import fm, inputs, labels
from shortlist.rank.fm import Pairs
from shortlist.rank.inputs import Batch, Inputs, Layer
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Queries, Scores


@dataclass(frozen=True, slots=True)
class DeepFm:
    """The fine ranker for many categories: pairs as `rank.fm` has them, what goes beyond pairs by dense layers."""

    columns: tuple[str, ...] = ()  # empty = all there are, by name
    same: Mapping[str, str] = field(default_factory=dict)  # list column -> the category column whose codes it holds
    width: int = 16  # numbers of a vector
    layers: tuple[int, ...] = (128, 128)
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> DeepFmModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        chance = np.random.default_rng(seed)
        start = fm.begun(layout, self.width, chance)
        start |= inputs.layers_of((inputs.inputs_of(layout, self.width), *self.layers), "deep", chance)
        start |= inputs.layers_of((self.layers[-1], 1), "last", chance)

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            whole = inputs.embedded(torch, parameters, layout, batch)
            state = inputs.stack(torch, parameters, "deep", whole, self.learning.dropout if learn else 0.0)
            deep = state @ parameters["last.0.weight"] + parameters["last.0.shift"]
            return deep + fm.odds(torch, parameters, layout, batch, whole)

        arrays = self.learning.run(self, layout, found, label, start, forward, seed=seed, weight=weight)
        deep, last = inputs.stacked(arrays, "deep"), inputs.stacked(arrays, "last")
        return DeepFmModel(
            Inputs(layout, arrays["table"]), fm.pairs(layout, arrays, self.learning.shift), deep, last[0]
        )


@dataclass(frozen=True, slots=True)
class DeepFmModel:
    """Probability of each row."""

    inputs: Inputs
    pairs: Pairs
    deep: tuple[Layer, ...]
    last: Layer

    def score(self, queries: Queries, found: Candidates) -> Scores:
        read = self.inputs.read(found)
        odds = self.pairs.odds(self.inputs.layout, found, read)
        odds += self.last.of(inputs.through(read, self.deep))[:, 0]
        return labels.sigmoid(odds)

    def shifted(self, by: float) -> DeepFmModel:
        return replace(self, last=self.last.shifted(by))
