"""What each model thinks of every candidate, also of those it did not propose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shortlist.features.wording import number
from shortlist.protocols import Scorer
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason


@dataclass(frozen=True, slots=True)
class ModelScores:
    """Columns `score.NAME`: the score of each named model, NaN where it has no opinion.

    The sources' own columns stay as they are: NaN there says "not proposed by it", which reasons and explanations need.
    A blend that finds both takes `score.NAME` (rank.weighted).
    """

    models: Mapping[str, Scorer]

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        scores = {name: model.score(queries, found) for name, model in self.models.items()}
        return {f"score.{name}": score.astype(np.float32, copy=False) for name, score in scores.items()}

    def update(self, events: Events) -> None:
        """Models learn at training time."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, model = name.partition(".")
        if group != "score" or model not in self.models:
            return None
        return number(value, f"{model} gives it {{value}}", f"{model} has no opinion")
