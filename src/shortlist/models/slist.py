"""SLIST: what comes next as a linear function of what came last, in closed form (Choi et al., WWW 2021).

Every list is cut before each of its likings: S holds what came before the cut, T what came after, both fading with the
distance from it (half-lives in likings). SLIT is the ridge regression of T on S; SLIS is EASE on whole lists; `whole`
is the share of the latter in the sum that SLIST makes least. Old cuts may count less.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.errors import ConfigError
from shortlist.models import dense
from shortlist.models.dense import DenseItems
from shortlist.types import Ragged, Rows, Vectors

REACH = 6  # half-lives after which a liking is left out: it would weigh less than 2 in 100


@dataclass(frozen=True, slots=True)
class Slist:
    """The order-aware source of closed form; its defaults are the best of 12 settings on MovieLens-100K, leave-last.

    For S items it takes 12 S² bytes while fitting, 4 S² after, and 3 S³ operations beside those of the cuts
    (likings · 36 · past · future); up to about 20,000 items.
    """

    reg: float = 300.0  # ridge; larger trusts popular pairs more
    past: float = 2.0  # half-life of what came before, in likings
    future: float = 0.5  # half-life of what came after
    whole: float = 0.3  # share of whole lists: 0 = SLIT, 1 = SLIS (as EASE)
    days: float = 365.0  # half-life of a cut, in days before the end of the window; 0 = none
    most: int = 20_000  # items that take part, the most liked; the others are left to other sources
    half_life: float = 4.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter

    def fit(self, data: Dataset, *, seed: int) -> DenseItems:
        if not min(self.reg, self.past, self.future) > 0 or not 0 <= self.whole <= 1 or self.most < 1:
            raise ConfigError(
                f"reg is {self.reg}, past {self.past}, future {self.future}, most {self.most}, whole {self.whole}:"
                " whole must be from 0 to 1, the others greater than 0",
                where="models.slist",
            )
        item = dense.most_liked(data.matrix, self.most)
        matrix = data.matrix[:, item]
        before, after = self._cuts(data, item)
        share = np.float32(self.whole)
        gram = (1 - share) * dense.gram(before)
        target = (1 - share) * (before.T.tocsr() @ after).toarray()
        if self.whole > 0:
            both = share * dense.gram(matrix)
            gram += both
            dense.mirror(both)
            target += both
        gram[np.diag_indices_from(gram)] += self.reg
        dense.invert(gram, "models.slist")
        return DenseItems.of(_without_diagonal(gram, target), item, data.n_items, self.half_life)

    def _cuts(self, data: Dataset, item: Rows) -> tuple[csr_array, csr_array]:
        """S and T, a row for each liking: what faded before it, and what from it on."""
        place = np.full(data.n_items, -1, np.int32)
        place[item] = np.arange(len(item), dtype=np.int32)
        liked = data.sequences.where((data.sequences["weight"] > 0) & (place[data.sequences["item"]] >= 0))
        liked = Ragged(liked.ptr, {**liked.columns, "item": place[liked["item"]]})
        old = (data.now - liked["time"]) / DAY
        count = np.sqrt(ops.decay(old, self.days if self.days > 0 else np.inf))
        width = len(item)
        before = _faded(liked, range(-1, -ceil(REACH * self.past) - 1, -1), self.past, count, width)
        after = _faded(liked, range(ceil(REACH * self.future)), self.future, count, width)
        return before, after


def _faded(liked: Ragged, steps: range, half_life: float, count: NDArray[np.float64], width: int) -> csr_array:
    """(L, width) a row for each liking: the likings of its list so many `steps` away, the first of them whole."""
    at, owner = np.arange(len(liked["item"])), liked.owner
    rows, columns, values = [], [], []
    for step in steps:
        there = at + step
        inside = (there >= 0) & (there < len(at))
        inside[inside] = owner[there[inside]] == owner[inside]
        rows.append(at[inside])
        columns.append(liked["item"][there[inside]])
        fade = 0.5 ** (abs(step - steps[0]) / half_life)
        values.append((liked["weight"][there[inside]] * fade * count[inside]).astype(np.float32))
    pairs = (np.concatenate(rows), np.concatenate(columns))
    return csr_array((np.concatenate(values), pairs), shape=(len(at), width))


def _without_diagonal(inverse: Vectors, target: Vectors) -> Vectors:
    """The regression that leaves each item out of its own prediction, by Lagrange multipliers."""
    weight: Vectors = inverse @ target
    weight -= inverse * (weight.diagonal() / inverse.diagonal())
    np.fill_diagonal(weight, 0)
    return weight
