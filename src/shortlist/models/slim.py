"""SLIM: every item predicted from few others, by regression with an elastic net (Ning, Karypis, ICDM 2011).

Weights are not negative and most are 0. Learned by coordinate descent on the gram matrix (Friedman, Hastie, Tibshirani,
Journal of Statistical Software 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.sparse import csr_array

from shortlist import _kernels
from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.sparse import SparseItems


@dataclass(frozen=True, slots=True)
class Slim:
    """EASE's quality in a model of a hundredth of its size. Fitting takes 4 S² bytes for S items and about
    sweeps · S · (weights kept) operations, at most S³ a sweep; the model 8 bytes a weight. Up to about 20,000 items.

    The defaults led on the validation part of MovieLens-100K, leave-last.
    """

    l1: float = 0.3  # larger: fewer weights
    l2: float = 30.0  # ridge; larger trusts popular pairs more
    sweeps: int = 30  # at most, over all weights of an item
    tolerance: float = 1e-3  # a weight stays when its effect would move by less, in parts of the item's likings
    most: int = 20_000  # items that take part, the most liked; the others are left to other sources
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> SparseItems:
        if not self.l1 >= 0 or not self.l2 > 0 or self.sweeps < 1 or self.most < 1:
            raise ConfigError(
                f"l1 is {self.l1}, l2 {self.l2}, sweeps {self.sweeps}, most {self.most}: l1 must be at least 0, the"
                " others greater than 0",
                where="models.slim",
            )
        item = dense.most_liked(data.matrix, self.most)
        gram = dense.gram(data.matrix[:, item])
        dense.mirror(gram)
        target, source, weight = _kernels.elastic_net(gram, self.l1, self.l2, self.sweeps, self.tolerance)
        kept = csr_array((weight, (item[source], item[target])), shape=(data.n_items, data.n_items))
        return SparseItems(rows_of(kept), self.half_life)
