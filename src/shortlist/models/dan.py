"""EASE on likings normalised by the popularity of items and the activity of people (Park et al., SIGIR 2025).

"DAN": EASE on D_I^-(1-a) X' D_U^-b X D_I^-a, D_I and D_U being the total likings of items and people. Written out it is
EASE whose ridge is in proportion to an item's popularity, whose prediction of an item is divided by popularity^a, and
whose people of many likings count less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.dense import DenseItems


@dataclass(frozen=True, slots=True)
class Dan:
    """EASE with a dial between popular and rare items. Memory and time are those of EASE: 4 S² bytes and S³ operations
    for S items, up to about 20,000.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    reg: float = 0.3  # ridge, in parts of an item's popularity
    item_power: float = 0.3  # a; larger: rare items are recommended more
    user_power: float = 0.0  # b; larger: people of many likings count less
    most: int = 20_000  # items that take part, the most liked; the others are left to other sources
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> DenseItems:
        if not self.reg > 0 or self.most < 1:
            raise ConfigError(f"reg is {self.reg}, most {self.most}: each must be greater than 0", where="models.dan")
        item = dense.most_liked(data.matrix, self.most)
        matrix = data.matrix[:, item]
        popularity = np.asarray(matrix.sum(axis=0), np.float32)
        activity = np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr)) ** np.float32(self.user_power / 2)
        weight = dense.gram(csr_array((matrix.data / activity, matrix.indices, matrix.indptr), shape=matrix.shape))
        dense.regress(weight, self.reg * popularity, "models.dan")
        weight *= popularity[:, None] ** self.item_power
        weight /= popularity[None, :] ** self.item_power
        return DenseItems.of(weight, item, data.n_items, self.half_life)
