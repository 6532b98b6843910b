"""A ranker that learns from ratings themselves: who, what, and all that is known of both, one row a rating.

With a ranker of several goals, items that a person did not rate are drawn beside: the first goal is the rating, the
second whether it was rated at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, all_rows
from shortlist.errors import ConfigError
from shortlist.models.fields import Fields
from shortlist.protocols import Adjustable, Catalog, Ranker, Scorer
from shortlist.types import Candidates, Columns, Queries, Ragged, Rows, Scores

KNOWN = 2  # code of row 0 and of the first fact; 0 = nothing
ROWS = 1 << 17  # scored at once when all items are looked at


@dataclass(frozen=True, slots=True)
class Pointwise:
    """Ratings by any ranker of probabilities: a dense network, DeepFM, or several goals at once (`rank.mmoe` with two
    tasks and `negatives`).

    `ranker` learns the rating as a share of the way from the lowest to the highest. Every item is looked at to propose:
    for catalogues of some thousands.
    """

    catalog: Catalog
    ranker: Ranker
    proposer: Ranker | None = None  # the ranker with other settings that need no learning, such as weights of goals
    negatives: int = 0  # items drawn for each rating; 0 = the rating is the only goal
    user_columns: tuple[str, ...] = ()  # facts of people that are read; () = all
    item_columns: tuple[str, ...] = ()
    least: int = 2  # rows that must share a text for it to count
    facts: int = 8  # codes of facts that are read of a person or an item, at most

    def __post_init__(self) -> None:
        if self.negatives < 0 or min(self.least, self.facts) < 1:
            raise ConfigError(
                f"negatives is {self.negatives}, least {self.least}, facts {self.facts}: the first may be 0",
                where="models.pointwise",
            )

    def fit(self, data: Dataset, *, seed: int) -> PointwiseModel:
        rated = data.ratings.tocoo()
        user, item, value = rated.row.astype(np.int32), rated.col.astype(np.int32), rated.data
        low, high = (float(value.min()), float(value.max())) if len(value) else (0.0, 1.0)
        share = (value - low) / ((high - low) or 1.0)
        label: Scores = share.astype(np.float32)
        if self.negatives:
            drawn = _drawn(data, user, self.negatives, seed)
            user, item = np.concatenate((user, drawn[0])), np.concatenate((item, drawn[1]))
            label = np.full((len(user), 2), np.nan, np.float32)
            label[: len(value), 0] = share
            label[:, 1] = np.arange(len(user)) < len(value)
        sides = (
            Side.of(data.users, data.n_users, self.user_columns, self.least, self.facts),
            Side.of(data.items, data.n_items, self.item_columns, self.least, self.facts),
        )
        order = np.argsort(user, kind="stable")
        user, item, label = user[order], item[order], label[order]
        codes = (
            _Codes(user, sides[0].codes(data.users, data.n_users)[user]),
            _Codes(item, sides[1].codes(data.items, data.n_items)[item]),
        )
        found = Candidates(user, item, _columns(*codes))
        scorer = self.ranker.learn(found, label, seed=seed)
        return PointwiseModel(self.catalog, scorer, self._proposes(scorer), *sides, low, high)

    def _proposes(self, scorer: Scorer) -> Scorer:
        if self.proposer is None:
            return scorer
        other = self.proposer.adjusted(self.ranker, scorer) if isinstance(self.proposer, Adjustable) else None
        if other is None:
            raise ConfigError(
                "proposer must be the ranker itself with other settings that need no learning",
                where="models.pointwise",
                hint="the same table as ranker, with other weights",
            )
        return other


class _Codes(NamedTuple):
    """Who or what each row is about."""

    row: Rows  # (N,) -1 = nobody
    fact: NDArray[np.int32]  # (N, L) codes, 0 in front


@dataclass(frozen=True, slots=True)
class Side:
    """Which facts of people, or of items, have codes."""

    fields: Fields
    width: int  # L, of the lists of codes

    @staticmethod
    def of(columns: Columns, rows: int, names: tuple[str, ...], least: int, most: int) -> Side:
        fields = Fields.of(columns, names, least)
        return Side(fields, min(most, max(1, int(fields.codes(columns, rows).length.max(initial=1)))))

    def codes(self, columns: Columns, rows: int) -> NDArray[np.int32]:
        """(R, L) what is known of each row, filled up with 0 in front."""
        lists: Ragged = self.fields.codes(columns, rows).last(self.width)
        made = np.zeros((rows, self.width), np.int32)
        place = np.arange(len(lists["code"])) - lists.ptr[1:][lists.owner] + self.width
        made[lists.owner, place] = lists["code"] + KNOWN
        return made


@dataclass(frozen=True)
class PointwiseModel:
    """Predicted ratings; lists by what `proposer` says of every item. Facts are read from the catalogue as it is."""

    catalog: Catalog
    scorer: Scorer
    proposer: Scorer
    user: Side
    item: Side
    low: float
    high: float

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return self._said(self.scorer, queries, found) * np.float32(self.high - self.low) + np.float32(self.low)

    def recall(self, queries: Queries, k: int) -> Candidates:
        """The k items of the catalogue that `proposer` says most of."""
        items = self.catalog.size("item")
        if not items or not len(queries):
            return Candidates.empty()
        parts, step = [], max(1, ROWS // items)
        for start in range(0, len(queries), step):
            some = queries.take(np.arange(start, min(start + step, len(queries))))
            query = np.repeat(np.arange(len(some), dtype=np.int32), items)
            every = Candidates(query, np.tile(np.arange(items, dtype=np.int32), len(some)))
            score = self._said(self.proposer, some, every).reshape(len(some), items)
            best = ops.top_of_matrix(score, k, some.exclude, some.allowed)
            parts.append(Candidates(best.query + np.int32(start), best.item, best.columns))
        return Candidates.concat(parts)

    def _said(self, scorer: Scorer, queries: Queries, found: Candidates) -> Scores:
        people = np.where(queries.user < self.catalog.size("user"), queries.user, -1).astype(np.int32)
        there = np.flatnonzero(people >= 0)
        names = set(self.catalog.names("user"))
        facts = self.catalog.read("user", people[there], [each for each in self.user.fields.names if each in names])
        known = np.zeros((len(queries), self.user.width), np.int32)
        known[there] = self.user.codes(facts, len(there))
        codes = self._items()
        item = np.where(found.item < len(codes), found.item, -1).astype(np.int32)
        fact = np.zeros((len(found), self.item.width), np.int32)
        fact[item >= 0] = codes[item[item >= 0]]
        columns = _columns(_Codes(people[found.query], known[found.query]), _Codes(item, fact))
        return scorer.score(queries, Candidates(found.query, found.item, columns))

    @cached_property
    def _items(self) -> Derived[NDArray[np.int32]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> NDArray[np.int32]:
        rows, there = all_rows(self.catalog), set(self.catalog.names("item"))
        facts = self.catalog.read("item", rows, [each for each in self.item.fields.names if each in there])
        return self.item.codes(facts, len(rows))


def _columns(user: _Codes, item: _Codes) -> Columns:
    """What the ranker reads: rows and facts as codes."""
    return {
        "user": np.where(user.row >= 0, user.row + KNOWN, 0).astype(np.int32),
        "user.facts": user.fact,
        "item": np.where(item.row >= 0, item.row + KNOWN, 0).astype(np.int32),
        "item.facts": item.fact,
    }


def _drawn(data: Dataset, user: Rows, negatives: int, seed: int) -> tuple[Rows, Rows]:
    """For each rating `negatives` items, drawn evenly, that its person did nothing with."""
    chance = np.random.default_rng(seed)
    owner = np.repeat(user, negatives)
    item = chance.integers(0, max(data.n_items, 1), len(owner)).astype(np.int32)
    met = data.events.user.astype(np.int64) * data.n_items + data.events.item
    new = ~np.isin(owner.astype(np.int64) * data.n_items + item, met)
    return owner[new], item[new]
