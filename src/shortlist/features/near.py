"""What a model would say if a person had done nothing but the last few things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from shortlist.errors import ConfigError
from shortlist.features.wording import number
from shortlist.protocols import Scorer
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason


@dataclass(frozen=True, slots=True)
class Near:
    """Columns `near.NAME.n`: how near a candidate is, to model NAME, to the last n items that the person liked.

    float32, NaN where the model has no opinion. For models of items (neighbours, transitions, EASE, vectors): one that
    knows people by their row alone says the same for every n.
    """

    models: Mapping[str, Scorer]
    last: tuple[int, ...] = (1, 2, 5)  # liked items

    def __post_init__(self) -> None:
        if not self.last or min(self.last) < 1:
            raise ConfigError(f"last is {list(self.last)}, expected numbers of at least 1", where="features.near")

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        liked = queries.history.where(queries.history["weight"] > 0)
        made: dict[str, np.ndarray] = {}
        for last in self.last:
            asked = replace(queries, history=liked.last(last))
            for name, model in self.models.items():
                made[f"near.{name}.{last}"] = model.score(asked, found).astype(np.float32, copy=False)
        return made

    def update(self, events: Events) -> None:
        """Models learn at training time."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, model, last = name.partition(".")[0], name.partition(".")[2].rpartition(".")[0], name.rpartition(".")[2]
        if group != "near" or model not in self.models:
            return None
        liked = "what you liked last" if last == "1" else f"the last {last} that you liked"
        return number(value, f"near to {liked}, says {model}: {{value}}", f"{model} sees nothing near to {liked}")
