"""How the networks of this room are learned: by Adam on the log-loss of labels, until queries held out say stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist.descent import Arrays, Descent, Tensors, digest, library
from shortlist.errors import ConfigError
from shortlist.rank import labels
from shortlist.rank.inputs import Batch
from shortlist.rank.layout import Encoded, Layout
from shortlist.types import Candidates, Scores

Forward: TypeAlias = Callable[[Any, Tensors, Batch, bool], Any]
"""(torch, parameters, a batch of tensors, whether it is learning) -> log-odds (n, tasks)."""
BLOCK = 8192  # held-out rows looked at together


@dataclass(frozen=True, slots=True)
class Learning:
    """Part of the recipes of rankers that are learned with PyTorch (extra: torch)."""

    held: float = 0.1  # share of the queries that say when to stop; 0 = learn for all epochs
    latest: bool = False  # whether those are the last of the table (it is in order of time), or drawn by lot
    positive: float = 1.0  # how often a row labelled 1 counts; scores are corrected for it
    kept: float = 1.0  # share of the rows labelled 0 that are in the table; scores are corrected for it
    l2: float = 1e-5  # of the squares of all vectors, beside the mean loss of a row
    dropout: float = 0.0  # share of the states of dense layers that is left out while learning
    descent: Descent = field(default_factory=lambda: Descent(epochs=20, patience=2, batch=1024))

    def __post_init__(self) -> None:
        if not 0 <= self.held < 1 or not 0 <= self.dropout < 1 or self.l2 < 0:
            raise ConfigError(
                f"held is {self.held}, dropout {self.dropout}, l2 {self.l2}: the first two must be in [0, 1), l2 not"
                " below 0",
                where="rank: learning",
            )
        if self.positive <= 0 or not 0 < self.kept <= 1:
            raise ConfigError(
                f"positive is {self.positive}, kept {self.kept}: both must be above 0, kept at most 1",
                where="rank: learning",
            )

    @property
    def shift(self) -> float:
        """What is to be added to the log-odds that were learned."""
        return labels.shift(self.positive, self.kept)

    def run(
        self,
        recipe: object,
        layout: Layout,
        found: Candidates,
        label: Scores,
        start: Arrays,
        forward: Forward,
        *,
        seed: int,
        weight: Scores | None = None,
        tasks: int = 1,
    ) -> Arrays:
        """The arrays that `start` becomes; see `Descent.run`, also for checkpoints."""
        target, often = labels.checked(found, label, tasks), labels.counted(weight, len(found))
        if not self.descent.epochs or not len(found):
            return start
        torch = library(f"rank: {type(recipe).__name__}")
        away = labels.apart(found.query, self.held, latest=self.latest, seed=seed)
        table = layout.encode(found.columns, len(found))
        rows = np.flatnonzero(~away)

        def batches(chance: np.random.Generator) -> Iterator[NDArray[np.intp]]:
            order = chance.permutation(rows)
            for begin in range(0, len(order), self.descent.batch):
                yield order[begin : begin + self.descent.batch]

        def loss(parameters: Tensors, batch: NDArray[np.intp]) -> Any:
            odds = forward(torch, parameters, _tensors(torch, table, batch), True)
            return self._loss(torch, odds, target[batch], often[batch]) + self.l2 * parameters["table"].square().sum()

        def likelihood(arrays: Arrays) -> float:
            """Of a held-out row, the geometric mean."""
            parameters = {name: torch.from_numpy(each) for name, each in arrays.items()}
            lost = 0.0
            with torch.no_grad():
                for begin in range(0, len(held), BLOCK):
                    some = held[begin : begin + BLOCK]
                    odds = forward(torch, parameters, _tensors(torch, table, some), False)
                    lost += float(self._loss(torch, odds, target[some], often[some])) * len(some)
            return float(np.exp(-lost / max(1e-9, often[held].sum(dtype=np.float64))))

        held = np.flatnonzero(away)
        facts = (recipe, digest(found.query, target, often, *(found.columns[each.name] for each in layout.fields)))
        return self.descent.run(torch, start, loss, batches, likelihood if len(held) else None, seed=seed, facts=facts)

    def _loss(self, torch: Any, odds: Any, target: Scores, often: Scores) -> Any:
        """The log-loss of what is known over the rows, each counted `often`, those labelled 1 `positive` times that."""
        known = torch.from_numpy(~np.isnan(target))
        wanted = torch.from_numpy(np.nan_to_num(target))
        lost = torch.nn.functional.binary_cross_entropy_with_logits(odds, wanted, reduction="none")
        times = torch.from_numpy(often[:, None]) * (1 + (self.positive - 1) * wanted) * known
        return (lost * times).sum() / max(1, len(target))


def _tensors(torch: Any, table: Encoded, rows: NDArray[np.intp]) -> Batch:
    """Some rows of what was encoded."""
    return Batch(*({name: torch.from_numpy(each[rows]) for name, each in part.items()} for part in table))
