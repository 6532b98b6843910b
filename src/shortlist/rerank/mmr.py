"""Maximal marginal relevance: each place to what is good and unlike what stands above (Carbonell, Goldstein 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.derived import kind_of, values_of
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Columns, Mask, Positions, Queries, Reason, Scores, Vectors

WIDTH = 128  # values of a column that become dimensions, the most frequent first
BLOCK = 256  # queries worked on at a time
UNSCORED = -1e9  # so low that no likeness reorders rows without a score


@runtime_checkable
class ItemVectors(Protocol):
    """A model that places items in a space, such as models.als."""

    @property
    def item(self) -> Vectors: ...  # (I, D)


@dataclass(frozen=True, slots=True)
class Mmr:
    """(1 - trade) · relevance - trade · greatest cosine similarity (at least 0) with an item above.

    The `pool` best take part; where more places are asked for, the others follow by score. Two items are alike as they
    share values of `column`, a text or list column of the items; with `vectors`, as a model places them. With neither,
    all list columns count; when there are none, the order is that of the scores.
    """

    trade: float = 0.3
    pool: int = 100
    column: str = ""
    vectors: ItemVectors | None = None

    def fit(self, data: Dataset, *, seed: int) -> MmrModel:
        if not 0 <= self.trade <= 1:
            raise ConfigError(f"trade is {self.trade}, but must be between 0 and 1", where="rerank.mmr")
        if self.pool < 1:
            raise ConfigError(f"pool is {self.pool}, but must be at least 1", where="rerank.mmr")
        if self.vectors is not None and self.column:
            raise ConfigError("give column or vectors, not both", where="rerank.mmr")
        vectors = self._shared_values(data.items) if self.vectors is None else self.vectors.item
        return MmrModel(self.trade, self.pool, _unit(vectors))

    def _shared_values(self, items: Columns) -> Vectors:
        """(I, D) 1 where the item has the value."""
        named = [self.column] if self.column else [name for name in sorted(items) if kind_of(items[name]) == "list"]
        hot = [_hot(name, items) for name in named]
        return np.concatenate(hot, axis=1) if hot else np.empty((0, 1), np.float32)


@dataclass(frozen=True, slots=True)
class MmrModel:
    """`Mmr` with the items' vectors. Items beyond them are like no other. A query's column "diversity" is its trade."""

    trade: float
    pool: int
    vector: Vectors  # (I, D) of length 1, or 0 for an item of which nothing is known

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        best = ops.topk(found.query, found.columns["score"], max(k, self.pool), len(queries))
        if not len(best):
            return best
        ptr, trade = ops.pointers(found.query[best], len(queries)), queries.given("diversity", self.trade)
        order = best.copy()
        for start in range(0, len(queries), BLOCK):
            first = ptr[start : min(start + BLOCK, len(queries))]
            length = np.minimum(ptr[start + 1 : start + 1 + len(first)] - first, self.pool)
            place = first[:, None] + np.arange(self.pool)
            real = np.arange(self.pool) < length[:, None]
            row = best[np.where(real, place, 0)]
            places = min(k, int(length.max(initial=0)))
            picked = self._pick(found, row, real, trade[start : start + len(first), None], places)
            taken = np.arange(picked.shape[1]) < length[:, None]
            order[place[:, : picked.shape[1]][taken]] = np.take_along_axis(row, picked, axis=1)[taken]
        rank = np.arange(len(best)) - np.repeat(ptr[:-1], np.diff(ptr))
        return order[rank < k]

    def moved(self, queries: Queries, found: Candidates, k: int, row: int) -> Reason | None:
        """What likeness to an item above took off the row when its place, or the last one, was given."""
        score = found.columns["score"]
        pool = ops.topk(found.query, score, self.pool, 1)
        if row not in pool:
            return Reason("only the {pool} best take part", {"pool": self.pool})
        order = self.order(queries, found, k)
        place = np.flatnonzero(order == row)
        above = order[: place[0] if len(place) else k]
        if not len(above):
            return None
        vector = ops.gather(self.vector, found.item[np.append(above, row)], 0)
        likeness = vector[:-1] @ vector[-1]
        likest = int(likeness.argmax())
        if likeness[likest] <= 0:
            return None
        trade = queries.given("diversity", self.trade)
        gain = _gain(score[pool][None], np.ones((1, len(pool)), np.bool_), 1 - trade[:, None])[0]
        facts = {
            "like": found.item[above[likest]],
            "likeness": float(likeness[likest]),
            "penalty": float(trade[0] * likeness[likest]),
            "relevance": float(gain[np.flatnonzero(pool == row)[0]]),
        }
        return Reason("{penalty} off its relevance of {relevance}: too like {like}, which stands above it", facts)

    def _pick(
        self, found: Candidates, row: Positions, real: Mask, trade: NDArray[np.float64], places: int
    ) -> Positions:
        """(b, places) columns of `row` (b, pool) in the order they are chosen; all queries advance together.

        `trade` is (b, 1).
        """
        vector = ops.gather(self.vector, found.item[row].ravel(), 0).reshape(*row.shape, self.vector.shape[1])
        likeness = trade.astype(np.float32)[:, :, None] * (vector @ vector.swapaxes(1, 2))  # (b, pool, pool)
        gain = _gain(found.columns["score"][row], real, 1 - trade)
        likeness, open_places = likeness.reshape(-1, row.shape[1]), gain.reshape(-1)
        likest, value = np.zeros_like(gain), np.empty_like(gain)
        first, picked = np.arange(len(row)) * row.shape[1], np.empty((len(row), places), np.intp)
        for place in range(places):
            picked[:, place] = choice = np.subtract(gain, likest, out=value).argmax(axis=1)
            taken = first + choice
            np.maximum(likest, likeness.take(taken, axis=0), out=likest)
            open_places[taken] = -np.inf
        return picked


def _gain(score: Scores, real: Mask, share: NDArray[np.float64]) -> Scores:
    """(b, pool) `share` (b, 1) times the scores scaled to 0 .. 1 within each query; far below without a score, -inf
    where there is no row."""
    known = real & ~np.isnan(score)
    high = np.max(score, axis=1, keepdims=True, where=known, initial=-np.inf)
    low = np.min(score, axis=1, keepdims=True, where=known, initial=np.inf)
    spread = np.where(high > low, high - low, 1)
    gain = np.where(known, share * ((score - np.where(low < np.inf, low, 0)) / spread), UNSCORED)
    return np.where(real, gain, -np.inf).astype(np.float32)


def _hot(name: str, items: Columns) -> Vectors:
    if name not in items or kind_of(items[name]) not in ("text", "list"):
        fit = [each for each in sorted(items) if kind_of(items[each]) in ("text", "list")]
        raise ConfigError(
            f"the items have no text or list column {name!r}",
            where="rerank.mmr: column",
            hint=f"choose one of: {', '.join(fit)}" if fit else "leave it out: the order is then that of the scores",
        )
    lists = values_of(items[name])
    frequent = np.argsort(-np.bincount(lists["code"]), kind="stable")[:WIDTH]
    hot = np.zeros((len(lists), len(frequent)), np.float32)
    for dimension, code in enumerate(frequent):
        hot[lists.owner[lists["code"] == code], dimension] = 1
    return hot


def _unit(vectors: Vectors) -> Vectors:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)
