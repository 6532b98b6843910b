"""Factorisation machine: the log-odds are a sum over columns and over pairs of columns (Rendle, ICDM 2010)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist import _kernels
from shortlist.descent import Arrays, Tensors
from shortlist.rank import inputs, labels
from shortlist.rank.inputs import EVERY, Batch, Inputs, Read
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Queries, Scores, Vectors


@dataclass(frozen=True, slots=True)
class Fm:
    """The cheapest ranker that knows pairs: this person and that item, this hour and that category.

    A number counts as its scaled value times a vector, a list as the mean of its codes' vectors.
    """

    columns: tuple[str, ...] = ()  # empty = all there are, by name
    same: Mapping[str, str] = field(default_factory=dict)  # list column -> the category column whose codes it holds
    width: int = 16  # numbers of a vector
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> FmModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        start = begun(layout, self.width, np.random.default_rng(seed))

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            return odds(torch, parameters, layout, batch, inputs.embedded(torch, parameters, layout, batch))

        arrays = self.learning.run(self, layout, found, label, start, forward, seed=seed, weight=weight)
        return FmModel(Inputs(layout, arrays["table"]), pairs(layout, arrays, self.learning.shift))


@dataclass(frozen=True, slots=True)
class Pairs:
    """The part of a factorisation machine that is not the vectors of codes."""

    base: float
    code: Vectors  # (T,) weight of each row of the table
    number: Vectors  # (P,) weight of each number
    project: Vectors  # (K, D) from inputs to the sum of all vectors
    square: Vectors  # (K, 1) weights of squared inputs in the sum of squared vectors

    def odds(self, layout: Layout, found: Candidates, read: Read) -> Scores:
        """(N,) the log-odds of `read`, the inputs of `found`."""
        whole = read.whole()
        zero = np.zeros((1, self.project.shape[1]), np.float32)
        total = _kernels.dense(whole, self.project, zero, EVERY)
        squares = _kernels.dense(whole * whole, self.square, zero[:, :1], EVERY)[:, 0]
        said = np.full(len(found), self.base, np.float32)
        said += np.float32(0.5) * (np.einsum("nd,nd->n", total, total) - squares)
        return self._alone(layout, found, said)

    def _alone(self, layout: Layout, found: Candidates, said: Scores) -> Scores:
        """`said` and what each column says by itself, in order."""
        encoded = layout.encode(found.columns, len(found))
        for each in layout.fields:
            if each.kind == "category":
                said += self.code[encoded.categories[each.name]]
            elif each.kind == "list":
                places = encoded.lists[each.name]
                total = np.zeros(len(said), np.float32)
                for place in places.T:
                    total += self.code[place]
                said += total / np.maximum((places > 0).sum(axis=1), 1).astype(np.float32)
            else:
                for number, weight in zip(encoded.numbers[each.name].T, self.number[each.at :], strict=False):
                    said += number * weight
        return said


@dataclass(frozen=True, slots=True)
class FmModel:
    """Probability of each row."""

    inputs: Inputs
    pairs: Pairs

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return labels.sigmoid(self.pairs.odds(self.inputs.layout, found, self.inputs.read(found)))

    def shifted(self, by: float) -> FmModel:
        return replace(self, pairs=replace(self.pairs, base=self.pairs.base + by))


def begun(layout: Layout, width: int, chance: np.random.Generator) -> Arrays:
    """What learning starts from."""
    return {
        "table": inputs.start(layout, width, chance),
        "code": np.zeros((len(layout.row), 1), np.float32),
        "number": np.zeros(len(layout.centre), np.float32),
        "number_vector": chance.normal(0, inputs.DEVIATION, (len(layout.centre), width)).astype(np.float32),
        "base": np.zeros(1, np.float32),
    }


def odds(torch: Any, parameters: Tensors, layout: Layout, batch: Batch, whole: Any) -> Any:
    """(n, 1) the log-odds of `whole`, the inputs of `batch`, with PyTorch."""
    width = parameters["table"].shape[1]
    places = [*batch.categories.values(), *batch.lists.values()]
    said = parameters["base"].expand(len(whole))
    for rows, weight in zip(places, inputs.looked_up(torch, parameters["code"], places), strict=True):
        alone = weight[..., 0]
        said = said + (alone if rows.dim() == 1 else alone.sum(1) / (rows > 0).sum(1).clamp(min=1))
    project, square = [], []
    eye, one = torch.eye(width), torch.ones(width)
    for half in inputs.halves(layout):
        for each in half:
            if each.kind == "number":
                mine = slice(each.at, each.at + each.inputs)
                said = said + batch.numbers[each.name] @ parameters["number"][mine]
                project.append(parameters["number_vector"][mine])
                square.append(parameters["number_vector"][mine].square().sum(1))
            else:
                project.append(eye)
                square.append(one)
    total = whole @ torch.cat(project)
    return (said + 0.5 * (total.square().sum(1) - whole.square() @ torch.cat(square)))[:, None]


def pairs(layout: Layout, arrays: Arrays, shift: float) -> Pairs:
    """What serves, of what was learned."""
    width = arrays["table"].shape[1]
    project: list[Vectors] = []
    for half in inputs.halves(layout):
        for each in half:
            mine = arrays["number_vector"][each.at : each.at + each.inputs]
            project.append(mine if each.kind == "number" else np.eye(width, dtype=np.float32))
    whole = np.concatenate(project)
    square = np.square(whole).sum(axis=1, keepdims=True)
    return Pairs(float(arrays["base"][0]) + shift, arrays["code"][:, 0].copy(), arrays["number"], whole, square)
