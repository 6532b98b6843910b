"""Where each model sees a candidate among the others of its query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.features.wording import number
from shortlist.protocols import Scorer
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason


@dataclass(frozen=True, slots=True)
class Standing:
    """For each named model, float32: `standing.NAME` its score in standard deviations of its query, `gap.NAME` how far
    it is below the best of its query, `place.NAME` the logarithm of its rank (0 = first).

    Where the model has no opinion: 0 when it says nothing of the whole query, else its least standing, and NaN.
    """

    models: Mapping[str, Scorer]

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        made: dict[str, np.ndarray] = {}
        borders = ops.pointers(found.query, len(queries))
        filled = np.flatnonzero(borders[1:] > borders[:-1])
        for name, model in self.models.items():
            score = model.score(queries, found).astype(np.float32, copy=False)
            best = np.full(len(queries), np.nan, np.float32)
            if len(filled):
                best[filled] = np.fmax.reduceat(score, borders[filled])
            made[f"standing.{name}"] = ops.standardize_within(found.query, score[None])[0]
            made[f"gap.{name}"] = score - best[found.query]
            made[f"place.{name}"] = np.log(ops.rank_within(found.query, score, len(queries)))
        return made

    def update(self, events: Events) -> None:
        """Models learn at training time."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, model = name.partition(".")
        if group not in ("standing", "gap", "place") or model not in self.models:
            return None
        none = f"{model} has no opinion"
        if group == "place":
            return number(np.round(np.exp(value)), f"place {{value}} for {model}", none)
        if group == "gap":
            return number(-value, f"{{value}} below what {model} likes best", none)
        return number(value, f"{{value}} deviations above the others for {model}", none)
