"""timeSVD++: SVD++ in which items gain and lose favour and people's tastes drift (Koren, KDD 2009).

Each item has a bias for each of `bins` equal parts of the window; a person's bias and vector move with the time between
a rating and the mean of theirs. Without the bias of a single day, which says nothing about any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, ShapeError
from shortlist.models.als import LANES, padded
from shortlist.models.rating import Scale, ratings_of
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors

SLOWED = 0.4  # exponent of the time from the mean, as in the paper


@dataclass(frozen=True, slots=True)
class TimeSvd:
    """For ratings whose times are known; a question is answered for its own time."""

    factors: int = 30
    bins: int = 15
    epochs: int = 60
    rate: float = 0.01  # length of the first steps; it falls evenly to 0
    reg: float = 0.06
    reg_bias: float = 0.01
    reg_drift: float = 0.3  # of what moves in people
    shrink: float = 100.0  # ratings of no effect, added to those of each bin
    deviation: float = 0.1  # length of the random vectors at the start

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ConfigError(f"bins is {self.bins}", where="models.timesvd", hint="at least 1")

    def fit(self, data: Dataset, *, seed: int) -> TimeSvdModel:
        scale, rated = ratings_of(data)
        time = rated["time"]
        window = np.array([time.min(), time.max()] if len(time) else [0, 0], np.int64)
        chance = np.random.default_rng(seed)
        user, item = (
            padded(chance, size, self.factors, self.deviation, room=2) for size in (data.n_users, data.n_items)
        )
        implied, drift = np.zeros_like(item), np.zeros_like(user)
        since = since_mean(rated, time, rated.owner, window)
        slot = rated["item"] * np.int32(self.bins) + bin_of(time, window, self.bins)
        moment = np.zeros(data.n_items * self.bins, np.float32)
        steady = (self.shrink / np.maximum(np.bincount(slot, minlength=len(moment)), 1)).astype(np.float32)
        value = scale.units(rated["score"])
        for epoch in range(self.epochs):
            _kernels.rating_epoch(
                user,
                item,
                implied,
                drift,
                rated.ptr,
                rated["item"],
                value,
                since,
                slot,
                moment,
                steady,
                self.factors,
                self.rate * (1 - epoch / self.epochs),
                self.reg,
                self.reg_bias,
                self.reg_drift,
                int(chance.integers(2**63)),
            )
        whole = np.zeros((data.n_items, -(-(self.factors + 2 + self.bins) // LANES) * LANES), np.float32)
        whole[:, : self.factors + 1] = item[:, : self.factors + 1]
        whole[:, self.factors + 1] = 1
        whole[:, self.factors + 2 : self.factors + 2 + self.bins] = moment.reshape(-1, self.bins)
        said = np.ascontiguousarray(implied[:, : self.factors])
        return TimeSvdModel(
            scale, self.factors, self.bins, window, whole, said, self.reg, self.reg_bias, self.reg_drift
        )


@dataclass(frozen=True, slots=True)
class TimeSvdModel:
    """Vectors of items; a person's vector and its drift are the exact minimum for the ratings in the request."""

    scale: Scale
    factors: int  # K
    bins: int
    window: NDArray[np.int64]  # (2,) times of the first and the last rating
    item: Vectors  # (I, D) K factors, the bias, 1, the biases of the bins
    implied: Vectors  # (I, K) what having rated an item says
    reg: float
    reg_bias: float
    reg_drift: float

    def __post_init__(self) -> None:
        if self.item.shape[1] < self.factors + 2 + self.bins or self.implied.shape != (len(self.item), self.factors):
            raise ShapeError(
                f"TimeSvdModel: {self.factors} factors, item {self.item.shape}, implied {self.implied.shape}"
            )

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The items with the highest predictions, not clipped, for everybody who rated something."""
        rated = self.scale.rated(queries.history, len(self.item)).length > 0
        user = np.where(rated[:, None], self._user(queries), np.float32(0))
        found = ops.top_of_product(user, self.item, k, queries.exclude, queries.allowed)
        return found.with_columns({"score": self.scale.ratings(found.columns["score"])})

    def score(self, queries: Queries, found: Candidates) -> Scores:
        """Predicted ratings at the time of the question, on the scale; NaN for items beyond training."""
        predicted = _kernels.products(self._user(queries), self.item, found.query, found.item)
        return self.scale.clip(self.scale.ratings(predicted))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking whose vector has the largest cosine with the item's, biases left out."""
        liked = ops.liked(queries.history, 0, len(self.item))
        taste = self.item[:, : self.factors]
        return ops.nearest_liked(liked, taste[liked["item"]], found.query, ops.gather(taste, found.item, 0))

    def _user(self, queries: Queries) -> Vectors:
        return queries.once(
            self, "user", lambda: self._at(queries.time, self.scale.rated(queries.history, len(self.item)))
        )

    def _at(self, now: NDArray[np.int64], rated: Ragged) -> Vectors:
        """(B, D) vectors at the times `now` (B,) of the people with these ratings."""
        K, row, people = self.factors, rated["item"], len(rated)
        share = (1 / np.sqrt(np.maximum(rated.length, 1))).astype(np.float32)[rated.owner]
        user = np.zeros((people, self.item.shape[1]), np.float32)
        user[:, :K] = _kernels.sum_of_rows(rated.ptr, row, share, self.implied)
        user[:, K] = 1
        own, time = rated.owner, rated["time"]
        before = user[own]
        before[np.arange(len(own)), K + 2 + bin_of(time, self.window, self.bins)] = 1
        left = self.scale.units(rated["score"]) - np.einsum("hd,hd->h", before, self.item[row])
        vector, moved = self._solved(rated, left, since_mean(rated, time, own, self.window))
        everybody = np.arange(people, dtype=np.int32)
        user[:, [*range(K), K + 1]] += vector + since_mean(rated, now, everybody, self.window)[:, None] * moved
        user[everybody, K + 2 + bin_of(now, self.window, self.bins)] = 1
        return user

    def _solved(self, rated: Ragged, left: Scores, since: Scores) -> tuple[Vectors, Vectors]:
        """The factors and bias (B, K + 1) of people, and how they move: ridge regression on what is left of ratings."""
        width = self.factors + 1
        unit = np.full(2 * width, (self.reg / self.reg_drift) ** 0.5, np.float32)
        unit[:width] = 1
        unit[width - 1] = (self.reg / self.reg_bias) ** 0.5
        columns = -(-2 * width // LANES) * LANES
        design = np.zeros((len(left), columns), np.float32)
        taste = self.item[rated["item"]][:, [*range(self.factors), self.factors + 1]]
        design[:, : 2 * width] = np.hstack((taste, since[:, None] * taste)) * unit
        x = np.zeros((len(rated), columns), np.float32)
        each, one = np.arange(len(left), dtype=np.int32), np.ones(len(left), np.float32)
        reg = (self.reg * np.maximum(rated.length, 1)).astype(np.float32)
        _kernels.least_squares(
            x, design, rated.ptr, each, one, left, np.zeros((columns, columns), np.float32), reg, steps=0
        )
        x[:, : 2 * width] *= unit
        return x[:, :width], x[:, width : 2 * width]


def since_mean(rated: Ragged, time: NDArray[np.int64], own: Rows, window: NDArray[np.int64]) -> Scores:
    """(T,) how far `time` of the person `own` is from the mean of their ratings, slowed, in [-1, 1] of the window."""
    begin, length = window[0], max(int(window[1] - window[0]), 1)
    total = np.bincount(rated.owner, (rated["time"] - begin).astype(np.float64), len(rated))
    count = rated.length[own]
    mean = total[own] / np.maximum(count, 1)
    gap = np.where(count > 0, np.clip((time - begin - mean) / length, -1, 1), 0)
    since: Scores = (np.sign(gap) * np.abs(gap) ** SLOWED).astype(np.float32)
    return since


def bin_of(time: NDArray[np.int64], window: NDArray[np.int64], bins: int) -> Rows:
    """(T,) which of the equal parts of the window; what is before or after it is in the first or the last."""
    share = (time - window[0]).astype(np.float64) / max(int(window[1] - window[0]), 1)
    place: Rows = np.clip(share * bins, 0, bins - 1).astype(np.int32)
    return place
