"""RP3beta: where a walk of three random steps from a person ends, popular items held back (Paudel et al., TiiS 2016).

Steps go person - item - person - item. A step's chance is the share of a liking among all likings of where it leaves
from, raised to `alpha`; what arrives at an item is divided by its likings to the power of `beta`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ConfigError
from shortlist.models.sparse import SparseItems
from shortlist.types import Ragged


@dataclass(frozen=True, slots=True)
class Rp3Beta:
    """A source for catalogues of any size: 8 bytes · neighbours · items, time in the sum over people of their squared
    number of likings.

    The defaults led on the validation part of MovieLens-1M, leave-last.
    """

    neighbours: int = 500  # kept for each item
    alpha: float = 0.7  # smaller: rare steps count nearly as much as common ones
    beta: float = 0.8  # larger: rare items are recommended more
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> SparseItems:
        if self.neighbours < 1 or not self.alpha > 0:
            raise ConfigError(
                f"neighbours is {self.neighbours}, alpha {self.alpha}: each must be greater than 0",
                where="models.rp3beta",
            )
        to_item = rows_of(_steps(data.matrix, self.alpha))
        to_user = rows_of(_steps(data.matrix.T.tocsr(), self.alpha))
        popularity = np.maximum(data.matrix.sum(axis=0), np.finfo(np.float32).tiny) ** self.beta
        row, column, score = _kernels.neighbours(
            to_user.ptr,
            to_user["item"],
            to_user["score"],
            to_item.ptr,
            to_item["item"],
            to_item["score"],
            np.ones(data.n_items, np.float32),
            popularity.astype(np.float32),
            0.0,
            self.neighbours,
        )
        neighbour = Ragged(ops.pointers(row, data.n_items), {"item": column, "score": score})
        return SparseItems(neighbour, self.half_life)


def _steps(matrix: csr_array, alpha: float) -> csr_array:
    """The chance of each step from a row to a column, raised to `alpha`."""
    total = np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    share = (matrix.data / total) ** np.float32(alpha)
    return csr_array((share.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
