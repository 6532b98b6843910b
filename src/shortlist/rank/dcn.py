"""DCN-V2: crosses of all inputs, beside dense layers (Wang et al., WWW 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist import _kernels
from shortlist.descent import Arrays, Tensors
from shortlist.errors import ConfigError
from shortlist.rank import inputs, labels
from shortlist.rank.inputs import EVERY, Batch, Inputs, Layer, Read
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Queries, Scores, Vectors


@dataclass(frozen=True, slots=True)
class Dcn:
    """The fine ranker that learns which inputs matter together, to the order of `crosses` + 1.

    Crosses and dense layers stand side by side ("parallel"), with full matrices.
    """

    columns: tuple[str, ...] = ()  # empty = all there are, by name
    same: Mapping[str, str] = field(default_factory=dict)  # list column -> the category column whose codes it holds
    width: int = 16  # numbers of the vector of a code
    crosses: int = 3
    layers: tuple[int, ...] = (128, 128, 128)
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        if self.crosses < 1 or not self.layers:
            raise ConfigError(
                f"crosses is {self.crosses}, layers {self.layers}: at least one of each", where="rank.dcn"
            )

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> DcnModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        chance, wide = np.random.default_rng(seed), inputs.inputs_of(layout, self.width)
        start: Arrays = {"table": inputs.start(layout, self.width, chance)}
        for each in range(self.crosses):
            deviation = np.sqrt(2 / (2 * wide))  # Glorot, Bengio 2010
            start[f"cross.{each}.weight"] = chance.normal(0, deviation, (wide, wide)).astype(np.float32)
            start[f"cross.{each}.shift"] = np.zeros(wide, np.float32)
        start |= inputs.layers_of((wide, *self.layers), "deep", chance)
        start |= inputs.layers_of((wide + self.layers[-1], 1), "last", chance)

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            whole = crossed = inputs.embedded(torch, parameters, layout, batch)
            for each in range(self.crosses):
                weighed = crossed @ parameters[f"cross.{each}.weight"] + parameters[f"cross.{each}.shift"]
                crossed = whole * weighed + crossed
            deep = inputs.stack(torch, parameters, "deep", whole, self.learning.dropout if learn else 0.0)
            return torch.cat((crossed, deep), 1) @ parameters["last.0.weight"] + parameters["last.0.shift"]

        arrays = self.learning.run(self, layout, found, label, start, forward, seed=seed, weight=weight)
        arrays["last.0.shift"] = arrays["last.0.shift"] + np.float32(self.learning.shift)
        parts = (inputs.stacked(arrays, name) for name in ("cross", "deep", "last"))
        crosses, deep, (last,) = parts
        split = sum(inputs.width_of(each, self.width) for each in inputs.halves(layout)[0])
        final = crosses[-1]
        toward, rest = final.weight[:, :split].T.copy(), Layer(final.weight[:, split:].copy(), final.shift[split:])
        return DcnModel(Inputs(layout, arrays["table"]), crosses, toward, rest, deep, last)


@dataclass(frozen=True, slots=True)
class DcnModel:
    """Probability of each row."""

    inputs: Inputs
    crosses: tuple[Layer, ...]
    toward: Vectors  # (S, K) of the last cross, what gives the S shared inputs, turned round
    rest: Layer  # (K, K - S) of the last cross, what gives the others
    deep: tuple[Layer, ...]
    last: Layer

    def score(self, queries: Queries, found: Candidates) -> Scores:
        read = self.inputs.read(found)
        deep, wide = inputs.through(read, self.deep), self.crosses[0].weight.shape[0]
        odds = self._crossed(read, self.last.weight[:wide, 0])[:, None]
        row = np.arange(len(odds), dtype=np.int32)
        odds = _kernels.dense(deep, self.last.weight[wide:], odds + self.last.shift, row)
        return labels.sigmoid(odds[:, 0])

    def shifted(self, by: float) -> DcnModel:
        return replace(self, last=self.last.shifted(by))

    def _crossed(self, read: Read, weight: Vectors) -> Scores:
        """(N,) what all crosses, x + x0 * (x @ weight + shift) each, come to at `weight` (K,).

        Of the last cross only a sum is wanted. Its part that belongs to shared inputs is a product of x with a vector
        that is the same for all rows of a group, and is worked out like that.
        """
        whole, split = read.whole(), read.shared.shape[1]
        state = whole
        for number, layer in enumerate(self.crosses[:-1]):
            if number == 0:
                rest = layer.weight[split:]
                state = _kernels.cross(read.own, rest, layer.begun(read), read.owner, whole, whole)
            else:
                state = _kernels.cross(state, layer.weight, layer.shift[None], EVERY, whole, state)
        shared, own = read.shared * weight[:split], read.own * weight[split:]
        toward = _kernels.dense(shared, self.toward, np.zeros((1, len(weight)), np.float32), EVERY) + weight
        both = (toward, np.einsum("gs,s->g", shared, self.crosses[-1].shift[:split]))
        toward, base = both if len(toward) == 1 else (each[read.owner] for each in both)
        odds: Scores = np.einsum("nk,nk->n", state, np.broadcast_to(toward, state.shape)) + base
        odds += np.einsum("no,no->n", own, self.rest.of(state))
        return odds
