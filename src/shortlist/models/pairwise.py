"""Factors learned by comparing: what a person likes is to score above items drawn at random. Shared by BPR and WARP."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.errors import ShapeError
from shortlist.models.als import padded
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores, Vectors

FINENESS = 16  # places of the pool an item has on average
DEVIATION = 0.1  # length of the random vectors at the start


@dataclass(frozen=True, slots=True)
class Descent:
    """How steps are taken, in training and when a person's vector is found from the history in a request."""

    bias: int  # the column of people that is 1, of items their bias
    trials: int  # WARP: draws for an item within the margin; 0 = BPR
    rate: float  # length of the first steps; it falls evenly to 0
    reg: float
    steps: int  # for a person at recommendation time
    half_life: float


@dataclass(frozen=True, slots=True)
class PairwiseModel:
    """Vectors of items; a person's vector is what training makes of the history at hand with the items as they are."""

    item: Vectors  # (I, D)
    known: Mask  # (I,) somebody liked it
    pool: Rows  # (P,) what is drawn from: an item as often as its share
    descent: Descent
    seed: int

    def __post_init__(self) -> None:
        if len(self.known) != len(self.item) or not self.descent.bias < self.item.shape[1]:
            raise ShapeError(f"PairwiseModel: {len(self.known)} items are known, vectors are {self.item.shape}")

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The k best of all items that somebody liked; a score may be negative."""
        allowed = queries.with_allowed(self.known).allowed
        return ops.top_of_product(self._user(queries), self.item, k, queries.exclude, allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        said = _kernels.products(self._user(queries), self.item, found.query, found.item)
        said[~ops.gather(self.known, found.item, False)] = np.nan
        return said

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking whose vector has the largest cosine with the item's, biases left out."""
        liked, bias = self._liked(queries.history), self.descent.bias
        shown = ops.gather(self.item, found.item, 0)[:, :bias]
        return ops.nearest_liked(liked, self.item[liked["item"]][:, :bias], found.query, shown)

    def _user(self, queries: Queries) -> Vectors:
        return queries.once(self, "user", lambda: self.fold_in(queries.history))

    def fold_in(self, history: Ragged) -> Vectors:
        """(B, D) vectors of the people with these histories; zeros where nothing known is liked."""
        liked = self._liked(history)
        if not len(liked["item"]):
            return np.zeros((len(history), self.item.shape[1]), np.float32)
        how = self.descent
        return _kernels.pairwise_fold(
            self.item,
            liked.ptr,
            liked["item"],
            liked["weight"],
            self.pool,
            how.bias,
            how.trials,
            how.rate,
            how.reg,
            how.steps,
            self.seed,
        )

    def _liked(self, history: Ragged) -> Ragged:
        liked = ops.liked(history, self.descent.half_life, len(self.item))
        return liked.where(self.known[liked["item"]])


def learn(data: Dataset, descent: Descent, epochs: int, popularity: float, *, seed: int, threads: int) -> PairwiseModel:
    """Descend for `epochs` times the number of likings; an item is drawn by its number of likings to the power of
    `popularity`. One thread: the same data and seed give the same model."""
    chance = np.random.default_rng(seed)
    likings = rows_of(data.matrix)
    users, items = data.matrix.shape
    user, item = (padded(chance, size, descent.bias, DEVIATION, room=1) for size in (users, items))
    user[:, descent.bias] = 1
    likes = np.bincount(likings["item"], minlength=items)
    pool = _pool(likes, popularity)
    for epoch in range(epochs if len(pool) else 0):
        _kernels.pairwise_epoch(
            user,
            item,
            likings.ptr,
            likings["item"],
            likings["score"],
            pool,
            descent.bias,
            descent.trials,
            descent.rate * (1 - epoch / epochs),
            descent.reg,
            int(chance.integers(2**63)),
            threads,
        )
    item[likes == 0] = 0
    return PairwiseModel(item, likes > 0, pool, descent, seed)


def _pool(likes: NDArray[np.int64], popularity: float) -> Rows:
    """Each liked item at least once, in proportion to likes ** popularity."""
    known = np.flatnonzero(likes).astype(np.int32)
    if popularity == 0 or not len(known):
        return known
    share = likes[known] ** popularity
    return np.repeat(known, np.ceil(share / share.sum() * len(known) * FINENESS).astype(np.int64))
