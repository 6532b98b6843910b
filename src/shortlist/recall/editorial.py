"""Items that people chose, by their ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.protocols import Catalog
from shortlist.recall.given import first_permitted
from shortlist.types import Candidates, Queries


@dataclass(frozen=True, slots=True)
class Editorial:
    """The ids in their order; an id that the catalog does not know (yet) is passed over."""

    catalog: Catalog
    ids: tuple[str, ...]

    def recall(self, queries: Queries, k: int) -> Candidates:
        """Scores count down from 0."""
        rows = self.catalog.rows("item", self.ids)
        item = rows[np.sort(np.unique(rows, return_index=True)[1])]
        item = item[item >= 0]
        query, position = first_permitted(item, queries, k, np.zeros(len(queries), np.intp))
        return Candidates(query, item[position], {"score": -position.astype(np.float32)})
