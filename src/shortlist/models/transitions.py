"""Item transitions: what people went on to after the items this person took last. A Markov chain with a long memory.

Counts reach some likes ahead and fade with the distance; the last items of a history vote together. A small power of
the counts, taken before they are added up, lets several items that agree outvote one that is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ConfigError
from shortlist.models.sparse import SparseItems
from shortlist.types import Ragged


@dataclass(frozen=True, slots=True)
class Transitions:
    """score(i, j) = count(i, j) ** power / (sum of count(i, .) ** source_power * likes of j ** target_power).

    The defaults are the best of 13 settings on the validation part of MovieLens-1M, leave-last.
    """

    window: int = 10  # likes ahead that count as following
    fade: float = 1.5  # half-life of a count, in likes between the two items
    half_life: float = 2.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter
    power: float = 0.3
    source_power: float = 0.2
    target_power: float = 0.08
    neighbours: int = 1000  # best followers kept of each item, 0 = all

    def fit(self, data: Dataset, *, seed: int) -> SparseItems:
        if self.window < 1 or not self.fade > 0 or not self.power > 0:
            raise ConfigError(
                f"window is {self.window}, fade {self.fade}, power {self.power}: each must be greater than 0",
                where="models.transitions",
            )
        liked = data.sequences.where(data.sequences["weight"] > 0)
        count = self._count(liked, data.n_items)
        source = np.maximum(count.sum(axis=1), 1) ** self.source_power
        target = np.maximum(np.bincount(liked["item"], minlength=data.n_items), 1) ** self.target_power
        follower = rows_of(count)
        score = follower["score"] ** self.power / (source[follower.owner] * target[follower["item"]])
        follower = Ragged(follower.ptr, {"item": follower["item"], "score": score.astype(np.float32)})
        return SparseItems(_best(follower, self.neighbours), self.half_life)

    def _count(self, liked: Ragged, items: int) -> csr_array:
        """(I, I) how often, and how soon, the column's item was liked after the row's."""
        item, owner, weight = liked["item"], liked.owner, liked["weight"]
        count = csr_array((weight[:0], (item[:0], item[:0])), shape=(items, items))
        for step in range(1, self.window + 1):
            pair = (owner[step:] == owner[:-step]) & (item[step:] != item[:-step])
            first, then = item[:-step][pair], item[step:][pair]
            said = weight[step:][pair] * np.float32(0.5 ** ((step - 1) / self.fade))
            count = count + csr_array((said, (first, then)), shape=(items, items))
        return count


def _best(follower: Ragged, count: int) -> Ragged:
    """The `count` largest scores of each list, with those that equal the last of them."""
    score, kept = follower["score"], np.ones(len(follower["score"]), np.bool_)
    for row in np.flatnonzero(follower.length > count) if count else ():
        inside = slice(follower.ptr[row], follower.ptr[row + 1])
        kept[inside] = score[inside] >= np.partition(score[inside], -count)[-count]
    return follower.where(kept)
