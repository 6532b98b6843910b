"""Explicit ALS: predicts ratings as mean + bias of person + bias of item + product of their vectors.

Zhou, Wilkinson, Schreiber, Pan 2008 (regularisation by frequency) with the biases of Koren, Bell, Volinsky 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset, rows_of
from shortlist.models.als import padded
from shortlist.models.rating import Scale
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors


@dataclass(frozen=True, slots=True)
class ExplicitAls:
    """Learns from events of the kind "rate". A vector's column `factors` is its bias, in units of `bias`."""

    factors: int = 8
    reg: float = 3.0
    exponent: float = 0.3  # of the number of ratings in the regularisation
    bias: float = 1.5  # larger: biases are regularised less than the rest
    iterations: int = 20
    deviation: float = 0.1  # length of the random vectors at the start

    def fit(self, data: Dataset, *, seed: int) -> ExplicitAlsModel:
        matrix = data.ratings
        mean = float(matrix.data.mean(dtype=np.float64)) if matrix.nnz else 0.0
        low, high = (float(matrix.data.min()), float(matrix.data.max())) if matrix.nnz else (0.0, 0.0)
        rate = data.kinds.table.get("rate")
        item = padded(np.random.default_rng(seed), data.n_items, self.factors, self.deviation, room=1)
        model = ExplicitAlsModel(
            item, mean, low, high, rate.code if rate else -1, self.factors, self.reg, self.exponent, self.bias
        )
        user = np.zeros((data.n_users, item.shape[1]), np.float32)
        by_user, by_item = rows_of(matrix), rows_of(matrix.T.tocsr())
        for _ in range(self.iterations):
            model.solve(user, item, by_user)
            model.solve(item, user, by_item)
        return model


@dataclass(frozen=True, slots=True)
class ExplicitAlsModel:
    """Vectors of items; a person's vector is solved from the ratings in the request."""

    item: Vectors  # (I, D)
    mean: float
    low: float  # the scale of the ratings
    high: float
    kind: int  # code of the kind "rate"
    factors: int
    reg: float
    exponent: float
    bias: float

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The items with the highest predicted ratings, not clipped, for everybody who rated something."""
        user, base, rated = self._people(queries)
        user[~rated] = 0
        found = ops.top_of_product(user, self.item, k, queries.exclude, queries.allowed)
        return found.with_columns({"score": base[found.query] + found.columns["score"]})

    def score(self, queries: Queries, found: Candidates) -> Scores:
        """Predicted ratings, clipped to the scale; NaN for items beyond training."""
        user, base, _ = self._people(queries)
        product: Scores = np.einsum("nd,nd->n", user[found.query], ops.gather(self.item, found.item, np.nan))
        predicted: Scores = np.clip(base[found.query] + product, self.low, self.high)
        return predicted

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking whose vector has the largest cosine with the item's, biases left out."""
        liked = ops.liked(queries.history, 0, len(self.item))
        shown = ops.gather(self.item, found.item, 0)[:, : self.factors]
        return ops.nearest_liked(liked, self.item[liked["item"]][:, : self.factors], found.query, shown)

    def solve(self, x: Vectors, y: Vectors, rows: Ragged) -> None:
        """Fit each row of `x` to its ratings (columns "item", a row of `y`, and "score"), in place."""
        design = y.copy()
        design[:, self.factors] = self.bias
        target = rows["score"] - np.float32(self.mean) - np.float32(self.bias) * y[rows["item"], self.factors]
        reg = (self.reg * np.maximum(rows.length, 1) ** self.exponent).astype(np.float32)
        nothing = np.zeros((x.shape[1], x.shape[1]), np.float32)
        weight = np.ones(len(target), np.float32)
        _kernels.least_squares(x, design, rows.ptr, rows["item"], weight, target, nothing, reg, 0)

    def _people(self, queries: Queries) -> tuple[Vectors, Scores, NDArray[np.bool_]]:
        """Vectors (B, D) and base (B,) with rating = base + vector · item, and who (B,) rated anything."""
        rated = self._rated(queries.history)
        user = np.zeros((len(queries), self.item.shape[1]), np.float32)
        self.solve(user, self.item, rated)
        base = np.float32(self.mean) + np.float32(self.bias) * user[:, self.factors]
        user[:, self.factors] = self.bias
        return user, base, rated.length > 0

    def _rated(self, history: Ragged) -> Ragged:
        return Scale(self.kind, self.low, self.high, self.mean, 1.0).rated(history, len(self.item))
