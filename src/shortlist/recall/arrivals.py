"""Items that no model has learned yet: put into the catalog after the release was trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.dataset import Dataset
from shortlist.protocols import Catalog
from shortlist.recall.given import first_permitted
from shortlist.types import Candidates, Queries


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Learns how far the catalog went. With `rerank.explore` new items get their first looks."""

    catalog: Catalog

    def fit(self, data: Dataset, *, seed: int) -> ArrivalsModel:
        return ArrivalsModel(self.catalog, data.n_items)


@dataclass(frozen=True, slots=True)
class ArrivalsModel:
    """The newest first; scores count down from 0."""

    catalog: Catalog
    known: int  # items when the release was trained

    def recall(self, queries: Queries, k: int) -> Candidates:
        item = np.arange(self.catalog.size("item") - 1, self.known - 1, -1, dtype=np.int32)
        query, position = first_permitted(item, queries, k, np.zeros(len(queries), np.intp))
        return Candidates(query, item[position], {"score": -position.astype(np.float32)})
