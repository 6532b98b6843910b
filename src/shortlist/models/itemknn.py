"""Item neighbours: what the people who took this also took (Sarwar et al., WWW 2001; Aiolli, RecSys 2013)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.models.sparse import SparseItems
from shortlist.models.weighting import weighted
from shortlist.types import Ragged


@dataclass(frozen=True, slots=True)
class ItemKnn:
    """Similarity x_i · x_j / (|x_i|^2a |x_j|^2(1-a) + shrink) of weighted columns, a = `asymmetry`; BM25: x_i · x_j.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    neighbours: int = 500  # kept for each item
    weighting: str = "tfidf"  # cosine | tfidf | bm25
    shrink: float = 100.0  # larger: pairs that few people share count less
    asymmetry: float = 0.3  # 0.5 = cosine; smaller: towards popular neighbours less
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> SparseItems:
        matrix = weighted(data.matrix, self.weighting)
        length = np.sqrt(matrix.power(2).sum(axis=0)).astype(np.float32)
        norm = np.ones_like(length) if self.weighting == "bm25" else length  # BM25 has its own way with long columns
        user, item = rows_of(matrix), rows_of(matrix.T.tocsr())
        row, column, score = _kernels.neighbours(
            item.ptr,
            item["item"],
            item["score"],
            user.ptr,
            user["item"],
            user["score"],
            norm ** (2 * self.asymmetry),
            norm ** (2 - 2 * self.asymmetry),
            self.shrink,
            self.neighbours,
        )
        neighbour = Ragged(ops.pointers(row, data.n_items), {"item": column, "score": score})
        return SparseItems(neighbour, self.half_life)
