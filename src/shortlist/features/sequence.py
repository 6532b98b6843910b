"""What a model that reads histories in order makes of one: a vector, and how near to it a candidate is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shortlist.features.wording import number
from shortlist.protocols import Encoder
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason, Vectors

TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Summary:
    """For each named model (SASRec, two towers), float32: `summary.NAME` the cosine of the candidate's vector and that
    of the history, and with `states` the latter, `summary.NAME.state` (N, D). NaN where a vector is not known.

    The history is read once for a list, by its source and by this.
    """

    models: Mapping[str, Encoder]
    states: bool = False

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        made: dict[str, np.ndarray] = {}
        for name, model in self.models.items():
            read = model.encode(queries)
            state, item = _unit(read), _unit(model.vectors(found.item))
            made[f"summary.{name}"] = np.einsum("nd,nd->n", state[found.query], item).astype(np.float32)
            if self.states:
                made[f"summary.{name}.state"] = np.where(np.isnan(state), state, read)[found.query]
        return made

    def update(self, events: Events) -> None:
        """The history arrives with the query; models learn at training time."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, model = name.partition(".")
        if group != "summary" or model.removesuffix(".state") not in self.models:
            return None
        if model not in self.models:
            return Reason(f"what {model.removesuffix('.state')} reads in your history")
        none = f"{model} reads nothing in your history, or does not know it"
        return number(value, f"like what {model} expects after your history: {{value}}", none)


def _unit(vectors: Vectors) -> Vectors:
    """Each of length 1, zeros as NaN."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))[:, None]
    unit: Vectors = np.where(length > TINY, vectors / np.maximum(length, TINY), np.nan).astype(np.float32)
    return unit
