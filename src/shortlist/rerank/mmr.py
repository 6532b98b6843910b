"""Maximal marginal relevance: each place to what is good and unlike what stands above (Carbonell, Goldstein 1998)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.derived import kind_of, values_of
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Columns, Positions, Queries, Reason, Scores, Vectors

WIDTH = 128  # values of a column that become dimensions, the most frequent first


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
        query = found.query[best]
        rank = np.arange(len(best)) - ops.pointers(query, len(queries))[:-1][query]
        pool = best[rank < self.pool]
        ptr, trade = ops.pointers(found.query[pool], len(queries)), queries.given("diversity", self.trade)
        score = found.columns["score"][pool]
        _, chosen = _kernels.diversify(self.vector, ptr, found.item[pool], score, trade.astype(np.float32), k)
        return ops.followed_by(pool[chosen], best, found.query, k, len(queries)) if k > self.pool else pool[chosen]

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
        trade = float(queries.given("diversity", self.trade)[0])
        relevance = (1 - trade) * _relevance(score[pool])
        facts = {
            "like": found.item[above[likest]],
            "likeness": float(likeness[likest]),
            "penalty": trade * float(likeness[likest]),
            "relevance": float(relevance[np.flatnonzero(pool == row)[0]]),
        }
        return Reason("{penalty} off its relevance of {relevance}: too like {like}, which stands above it", facts)


def _relevance(score: Scores) -> Scores:
    """(N,) the scores of one query scaled to 0 .. 1, as the kernel does."""
    known = score[np.isfinite(score)]
    low, high = (known.min(), known.max()) if len(known) else (0, 0)
    return np.asarray((score - low) / (high - low if high > low else 1), np.float32)


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
