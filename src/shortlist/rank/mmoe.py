"""Several goals at once: experts that all goals share, mixed for each by a gate of its own (Ma et al., KDD 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from shortlist.descent import Arrays, Tensors
from shortlist.errors import ConfigError
from shortlist.protocols import Ranker, Scorer
from shortlist.rank import inputs, labels
from shortlist.rank.inputs import Batch, Inputs, Layer
from shortlist.rank.layout import Layout
from shortlist.rank.learning import Learning
from shortlist.types import Candidates, Part, Queries, Scores, Vectors


@dataclass(frozen=True, slots=True)
class Mmoe:
    """The ranker for more than one kind of event: a click, a purchase, a rating (scaled to 0 .. 1). Learns from labels
    (N, tasks), NaN where one is unknown, as the purchase of what was never clicked.

    The score is the sum of what is expected of each, times its weight; weights can be changed while serving. One expert
    is a shared bottom.
    """

    tasks: tuple[str, ...]  # in the order of the labels
    weights: Mapping[str, float] = field(default_factory=dict)  # by task; what is not named weighs 1
    columns: tuple[str, ...] = ()  # empty = all there are, by name
    same: Mapping[str, str] = field(default_factory=dict)  # list column -> the category column whose codes it holds
    width: int = 16  # numbers of the vector of a code
    experts: int = 4
    expert: int = 64  # width of an expert
    tower: int = 32  # width of the layer of each task
    least: int = 1  # times a code must occur to have a vector of its own
    learning: Learning = field(default_factory=Learning)

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks) or min(self.experts, self.expert, self.tower) < 1:
            raise ConfigError(
                f"tasks are {self.tasks}, experts {self.experts} of {self.expert}, tower {self.tower}: tasks must have"
                " different names, and there must be at least one of everything",
                where="rank.mmoe",
            )
        _check(self.weights, self.tasks)

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> MmoeModel:
        layout = Layout.of(found, self.columns, same=self.same, least=self.least)
        chance, wide = np.random.default_rng(seed), inputs.inputs_of(layout, self.width)
        start: Arrays = {"table": inputs.start(layout, self.width, chance)}
        start |= inputs.layers_of((wide, self.experts * self.expert), "experts", chance)
        start |= inputs.layers_of((wide, len(self.tasks) * self.experts), "gates", chance)
        for task in self.tasks:
            start |= inputs.layers_of((self.expert, self.tower, 1), f"tower {task}", chance)

        def forward(torch: Any, parameters: Tensors, batch: Batch, learn: bool) -> Any:
            whole = inputs.embedded(torch, parameters, layout, batch)
            state = inputs.stack(torch, parameters, "experts", whole, self.learning.dropout if learn else 0.0)
            state = state.reshape(len(whole), self.experts, self.expert)
            gates = whole @ parameters["gates.0.weight"] + parameters["gates.0.shift"]
            gates = torch.softmax(gates.reshape(len(whole), len(self.tasks), self.experts), 2)
            said = []
            for number, task in enumerate(self.tasks):
                mixed = (gates[:, number, :, None] * state).sum(1)
                bent = mixed @ parameters[f"tower {task}.0.weight"] + parameters[f"tower {task}.0.shift"]
                said.append(
                    torch.relu(bent) @ parameters[f"tower {task}.1.weight"] + parameters[f"tower {task}.1.shift"]
                )
            return torch.cat(said, 1)

        arrays = self.learning.run(
            self, layout, found, label, start, forward, seed=seed, weight=weight, tasks=len(self.tasks)
        )
        towers = []
        for task in self.tasks:
            bent, last = inputs.stacked(arrays, f"tower {task}")
            towers.append((bent, Layer(last.weight, last.shift + np.float32(self.learning.shift))))
        (experts,), (gates,) = inputs.stacked(arrays, "experts"), inputs.stacked(arrays, "gates")
        return MmoeModel(Inputs(layout, arrays["table"]), experts, gates, tuple(towers), self._weights())

    def adjusted(self, before: Ranker, scorer: Scorer) -> Scorer | None:
        """`scorer`, which `before` learned, with the weights of this recipe; None when they differ in anything else."""
        if not isinstance(before, Mmoe) or replace(before, weights=self.weights) != self:
            return None
        assert isinstance(scorer, MmoeModel), "what this ranker learns"
        return replace(scorer, weights=self._weights())

    def _weights(self) -> dict[str, float]:
        return {task: float(self.weights.get(task, 1.0)) for task in self.tasks}


@dataclass(frozen=True, slots=True)
class MmoeModel:
    """The weighted sum of what is expected of each task."""

    inputs: Inputs
    experts: Layer  # (K, E * M)
    gates: Layer  # (K, tasks * E)
    towers: tuple[tuple[Layer, Layer], ...]  # by task
    weights: Mapping[str, float]  # by task, in order

    def __post_init__(self) -> None:
        _check(self.weights, tuple(self.weights))

    def score(self, queries: Queries, found: Candidates) -> Scores:
        total = np.zeros(len(found), np.float32)
        for chance, weight in zip(self.chances(found).T, self.weights.values(), strict=True):
            total += np.float32(weight) * chance
        return total

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """One a task: what is expected of it, and its weight."""
        chances = self.chances(found).T
        return [
            Part(task, chance, np.full(len(found), weight, np.float32))
            for (task, weight), chance in zip(self.weights.items(), chances, strict=True)
        ]

    def chances(self, found: Candidates) -> Vectors:
        """(N, tasks) the probability, or expected value, of each task."""
        read, tasks = self.inputs.read(found), len(self.towers)
        height = self.towers[0][0].weight.shape[0]
        experts = self.experts.weight.shape[1] // height
        state = self.experts.of_read(read, relu=True).reshape(len(found), experts, height)
        gate = self.gates.of_read(read).reshape(len(found), tasks, experts)
        gate = np.exp(gate - gate.max(axis=2, keepdims=True))
        gate /= gate.sum(axis=2, keepdims=True)
        said = np.empty((len(found), tasks), np.float32)
        for task, (bent, last) in enumerate(self.towers):
            mixed = np.zeros((len(found), height), np.float32)
            for expert in range(experts):
                mixed += gate[:, task, expert, None] * state[:, expert]
            said[:, task] = labels.sigmoid(last.of(bent.of(mixed, relu=True))[:, 0])
        return said


def _check(weights: Mapping[str, float], tasks: tuple[str, ...]) -> None:
    strange = sorted(set(weights) - set(tasks))
    if strange or not all(np.isfinite(each) for each in weights.values()):
        raise ConfigError(
            f"weights are {dict(weights)}, but there are tasks {', '.join(tasks)}, and weights must be finite",
            where="rank.mmoe: weights",
        )
