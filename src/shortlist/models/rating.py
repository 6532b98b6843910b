"""What models of ratings share: the ratings they learn from, and a person's vector solved from those in a request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.errors import DataError, ShapeError
from shortlist.models.als import padded
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores, Vectors

KIND = "rate"  # the kind of event whose value is a rating
NOBODY = -1  # the code of a kind that does not exist: no event has it
PEOPLE = 256  # solved at once
FIXED = np.float32(1e9)  # what it costs a person to move a column that is not theirs


@dataclass(frozen=True, slots=True)
class Scale:
    """What a rating is: an event of the kind `kind` with a value from `low` to `high`, in any unit. Models learn and
    predict how many standard deviations it is above the mean, so that none of their numbers depends on the unit."""

    kind: int  # code of the kind, -1 when there is none
    low: float
    high: float
    mean: float
    deviation: float

    def units(self, score: Scores) -> Scores:
        """What models learn of ratings."""
        return (score - np.float32(self.mean)) / np.float32(self.deviation)

    def ratings(self, predicted: Scores) -> Scores:
        """What models predict, as ratings; they may be beyond the scale."""
        return np.float32(self.mean) + np.float32(self.deviation) * predicted

    def clip(self, ratings: Scores) -> Scores:
        """Onto the scale; NaN stays."""
        clipped: Scores = np.clip(ratings, np.float32(self.low), np.float32(self.high))
        return clipped

    def rated(self, history: Ragged, width: int) -> Ragged:
        """The last rating of each item below `width`, oldest first: columns "item", "score" and "time"."""
        item = history["item"]
        known = (history["kind"] == self.kind) & (item >= 0) & (item < width) & np.isfinite(history["value"])
        rated = history.where(known)
        order, begins = ops.grouped(rated.owner, rated["item"])
        last = np.zeros(len(order), np.bool_)
        last[order[np.append(begins[1:], np.ones(min(1, len(order)), np.bool_))]] = True
        columns = {"item": rated["item"], "score": rated["value"], "time": rated["time"]}
        return Ragged(rated.ptr, columns).where(last)


def ratings_of(data: Dataset) -> tuple[Scale, Ragged]:
    """The scale, and U lists of ratings as `Scale.rated` gives them; DataError when one is no finite number."""
    rate = data.kinds.table.get(KIND)
    code = rate.code if rate else NOBODY
    value = data.events.value[data.events.kind == code]
    if not np.isfinite(value).all():
        raise DataError(
            f"{np.count_nonzero(~np.isfinite(value))} of {len(value)} ratings are not finite numbers",
            where=f"events of the kind {KIND!r}",
            hint="leave them out, or give them a value on the scale",
        )
    nothing = Scale(code, 0.0, 0.0, 0.0, 1.0)
    rated = nothing.rated(data.sequences, data.n_items)
    score = rated["score"].astype(np.float64)
    if not len(score):
        return nothing, rated
    low, high = float(score.min()), float(score.max())
    return Scale(code, low, high, float(score.mean()), float(score.std()) if low < high else 1.0), rated


@dataclass(frozen=True, slots=True)
class RatingModel:
    """Predicts mean + item · person, over S samples of D columns each: K factors, the item's bias, the person's; in
    standard deviations from the mean of all ratings.

    A person is `start`, what their facts add, what it says to have rated their items, and a vector with the least sum
    of squared errors of their ratings plus reg * n^exponent |vector|²: solved for the history in the request.
    """

    scale: Scale
    factors: int  # K
    mean: Scores  # (S,)
    item: Vectors  # (I, S * D); column K is the item's bias, column K + 1 the unit of a person's
    implied: Vectors  # (I, S * D) what having rated an item says, or (0, S * D)
    start: Vectors  # (1, S * D)
    facts: Vectors  # (C, S * D) what each fact of a person says
    known: Ragged  # U lists of "code" and "share": the facts of people
    reg: Scores  # (S,)
    exponent: float  # of the number of ratings

    def __post_init__(self) -> None:
        wide = {each.shape[1] for each in (self.item, self.implied, self.start, self.facts)}
        if wide != {len(self.mean) * self.columns} or self.columns < self.factors + 2:
            raise ShapeError(f"RatingModel: {len(self.mean)} samples of {self.factors} factors, vectors of {wide}")

    @property
    def columns(self) -> int:  # D
        return int(self.item.shape[1]) // len(self.mean)

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The items with the highest predictions, not clipped, for everybody who rated something or has facts."""
        user = np.where(self._heard_of(queries)[:, None], self._user(queries), np.float32(0))
        found = ops.top_of_product(user, self.item, k, queries.exclude, queries.allowed)
        return found.with_columns({"score": self.scale.ratings(found.columns["score"] + self.mean.mean())})

    def score(self, queries: Queries, found: Candidates) -> Scores:
        """Predicted ratings, on the scale; NaN for items beyond training."""
        predicted = _kernels.products(self._user(queries), self.item, found.query, found.item)
        return self.scale.clip(self.scale.ratings(predicted + self.mean.mean()))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking whose vector has the largest cosine with the item's, biases left out."""
        liked = ops.liked(queries.history, 0, len(self.item))
        return ops.nearest_liked(liked, self._tastes(liked["item"]), found.query, self._tastes(found.item))

    def _tastes(self, item: Rows) -> Vectors:
        vector = ops.gather(self.item, item, 0).reshape(len(item), len(self.mean), -1)
        return vector[:, :, : self.factors].reshape(len(item), -1)

    def _heard_of(self, queries: Queries) -> Mask:  # (B,)
        rated = self.scale.rated(queries.history, len(self.item)).length > 0
        facts: Mask = ops.gather(self.known.length, queries.user, 0) > 0
        return rated | facts

    def _user(self, queries: Queries) -> Vectors:
        """(B, S * D) vectors of which the product with an item's is the mean of the samples' predictions."""
        return queries.once(self, "user", lambda: self._solved(queries) / np.float32(len(self.mean)))

    def _solved(self, queries: Queries) -> Vectors:
        user = np.empty((len(queries), self.item.shape[1]), np.float32)
        rated = self.scale.rated(queries.history, len(self.item))
        for first in range(0, len(queries), PEOPLE):
            block = np.arange(first, min(first + PEOPLE, len(queries)))
            user[block] = self._of_people(queries.user[block], rated.take(block))
        return user

    def _of_people(self, user: Rows, rated: Ragged) -> Vectors:
        people, samples, columns = len(user), len(self.mean), self.columns
        there = (user >= 0) & (user < len(self.known))
        facts = (
            self.known.take(np.where(there, user, 0))
            if len(self.known)
            else Ragged(np.zeros(people + 1, np.int64), self.known.columns)
        )
        facts = facts.where(there[facts.owner])
        vector = self.start + _kernels.sum_of_rows(facts.ptr, facts["code"], facts["share"], self.facts)
        if len(self.implied):
            share = (1 / np.sqrt(np.maximum(rated.length, 1))).astype(np.float32)[rated.owner]
            vector += _kernels.sum_of_rows(rated.ptr, rated["item"], share, self.implied)
        vector = vector.reshape(people * samples, columns)
        item = self.item.reshape(-1, columns)
        each = rated.take(np.repeat(np.arange(people), samples))
        sample = each.owner % samples
        row = each["item"] * samples + sample
        left = self.scale.units(each["score"]) - self.mean[sample] - _kernels.products(vector, item, each.owner, row)
        gram = np.zeros((columns, columns), np.float32)
        gram[self.factors, self.factors] = FIXED
        reg = self.reg * np.maximum(rated.length, 1)[:, None] ** self.exponent
        own = np.zeros_like(vector)
        one = np.ones(len(left), np.float32)
        _kernels.least_squares(own, item, each.ptr, row, one, left, gram, reg.astype(np.float32).ravel(), steps=0)
        own[:, self.factors] = 0
        return (vector + own).reshape(people, samples * columns)


@dataclass(frozen=True, slots=True)
class Descent:
    """Stochastic descent for the sum over ratings of error² + reg (|p|² + |q|² + |y|²) + reg_bias (both biases²)."""

    factors: int
    epochs: int
    rate: float  # length of the first steps; it falls evenly to 0
    reg: float
    reg_bias: float
    deviation: float  # length of the random vectors at the start

    def run(self, data: Dataset, implies: int, *, seed: int) -> RatingModel:
        """`implies`: the number of items of which it counts that they were rated; 0 = of none."""
        scale, rated = ratings_of(data)
        chance = np.random.default_rng(seed)
        user, item = (
            padded(chance, size, self.factors, self.deviation, room=2) for size in (data.n_users, data.n_items)
        )
        columns = item.shape[1]
        implied = np.zeros((implies, columns), np.float32)
        nothing, never = np.empty((0, columns), np.float32), np.empty(0, np.float32)
        value = scale.units(rated["score"])
        for epoch in range(self.epochs):
            _kernels.rating_epoch(
                user,
                item,
                implied,
                nothing,
                rated.ptr,
                rated["item"],
                value,
                never,
                np.empty(0, np.int32),
                never,
                never,
                self.factors,
                self.rate * (1 - epoch / self.epochs),
                self.reg,
                self.reg_bias,
                0.0,
                int(chance.integers(2**63)),
            )
        item[:, self.factors + 1] = (self.reg / self.reg_bias) ** 0.5  # so that `reg` is that of the bias too
        start = np.zeros((1, columns), np.float32)
        start[0, self.factors] = 1
        nobody = Ragged(np.zeros(1, np.int64), {"code": np.empty(0, np.int32), "share": never})
        mean, reg = np.zeros(1, np.float32), np.array([self.reg], np.float32)
        return RatingModel(scale, self.factors, mean, item, implied, start, nothing, nobody, reg, exponent=1.0)
