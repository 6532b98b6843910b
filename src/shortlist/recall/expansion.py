"""From categories to items: what a person prefers is known by category, what to show of one is a policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, all_rows, kind_of, values_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog, Source
from shortlist.types import Candidates, Column, Queries, Ragged, Rows, Scores, empty_items

POLICIES = ("rate", "fresh", "random")
DEPTH = 200  # proposals of `source` that say what a person prefers


@dataclass(frozen=True, slots=True)
class Expansion:
    """Learns for `policy` = "rate" how often each item is taken when it is shown, doubted by `prior` showings.

    The rate is (likings + prior * overall rate) / (showings + prior); where the window has no event of the kind
    `shown`, an item counts as shown as often as anything else. "fresh": the newest by the time column `time` first;
    "random": drawn with the question's seed, every item of a category with the same chance.
    """

    catalog: Catalog
    column: str = "category"  # text or list column of the items
    policy: str = "rate"  # rate | fresh | random: which items of a category come first
    source: Source | None = None  # whose proposals say which categories are preferred; none = what was liked does
    categories: int = 20  # the best so many at most
    half_life: float = (
        0.0  # of a liking, in liked items, when likings say what is preferred; 0 = the order does not matter
    )
    prior: float = 100.0  # showings
    shown: str = "shown"  # kind of event
    time: str = "time"

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(
                f"policy is {self.policy!r}, but must be one of {', '.join(POLICIES)}", where="recall.expansion"
            )
        if self.categories < 1 or not self.prior >= 0:
            raise ConfigError(
                f"categories is {self.categories}, prior {self.prior}: must be at least 1 and 0",
                where="recall.expansion",
            )

    def fit(self, data: Dataset, *, seed: int) -> ExpansionModel:
        kind = data.kinds.table.get(self.shown)
        taken = np.bincount(data.events.item[data.weight > 0], minlength=data.n_items).astype(np.float64)
        showing = data.events.kind == kind.code if kind else np.zeros(len(data), np.bool_)
        shown = np.bincount(data.events.item[showing], minlength=data.n_items).astype(np.float64)
        if not showing.any():
            shown = np.full(data.n_items, max(len(data), 1) / max(data.n_items, 1))
        overall = float(min(taken.sum() / max(shown.sum(), 1.0), 1.0))
        rate = (taken + self.prior * overall) / np.maximum(shown + self.prior, 1e-12)
        return ExpansionModel(
            self.catalog,
            rate.astype(np.float32),
            overall,
            self.column,
            self.policy,
            self.source,
            self.categories,
            self.half_life,
            self.time,
        )


@dataclass(frozen=True)
class ExpansionModel:
    """From the best category downwards until there are k different items. Scores count down from 0.

    The catalog is asked as it is now: an item put a second ago is in its category, with the overall rate.
    """

    catalog: Catalog
    rate: Scores  # (I,) of the items that were there when it learned
    overall: float  # rate of all others
    column: str
    policy: str
    source: Source | None
    categories: int
    half_life: float
    time: str

    def recall(self, queries: Queries, k: int) -> Candidates:
        of_item, members = self._grouped()
        preferred = self._preferred(queries, of_item)
        parts = [self._expand(queries, b, preferred, members, k) for b in range(len(queries))]
        query = np.repeat(np.arange(len(queries), dtype=np.int32), [len(part) for part in parts])
        place = np.concatenate([np.empty(0, np.intp), *(np.arange(len(part)) for part in parts)])
        item = np.concatenate([np.empty(0, np.int32), *parts])
        return Candidates(query, item, {"score": -place.astype(np.float32)})

    def _expand(self, queries: Queries, b: int, preferred: Ragged, members: Ragged, k: int) -> Rows:
        """The first k different permitted items of the preferred categories of query b."""
        lists = members.take(preferred["code"][preferred.ptr[b] : preferred.ptr[b + 1]])
        item = lists["item"]
        if self.policy == "random":
            seed = np.broadcast_to(queries.seed[b], len(item))
            item = item[np.lexsort((ops.chance(seed, item), lists.owner))]
        exclude = queries.exclude.take(np.array([b]))
        item = item[ops.permitted(np.zeros(len(item), np.int32), item, exclude, queries.allowed)]
        first = np.sort(np.unique(item, return_index=True)[1])
        return item[first[:k]]

    def _preferred(self, queries: Queries, of_item: Ragged) -> Ragged:
        """B lists of "code": the best `categories` of each query, best first, equal ones by code."""
        if self.source is None:
            said = ops.liked(queries.history, self.half_life, len(of_item))
        else:  # what a person prefers does not depend on what may be shown
            anything = replace(queries, exclude=empty_items(len(queries)), allowed=np.empty(0, np.bool_))
            found = self.source.recall(anything, DEPTH)
            found = found.take(found.item < len(of_item))
            place = ops.rank_within(found.query, found.columns["score"], len(queries))
            ptr = ops.pointers(found.query, len(queries))
            said = Ragged(ptr, {"item": found.item, "weight": np.nan_to_num(1 / place)})
        groups = of_item.take(said["item"])
        owner, weight = said.owner[groups.owner], said["weight"][groups.owner]
        order, begins = ops.grouped(owner, groups["code"])
        sums = np.add.reduceat(weight[order], np.flatnonzero(begins)) if len(order) else weight
        owner, code = owner[order][begins], groups["code"][order][begins]
        best = ops.topk(owner, sums.astype(np.float32), self.categories, len(queries))
        return Ragged(ops.pointers(owner[best], len(queries)), {"code": code[best]})

    @cached_property
    def _grouped(self) -> Derived[tuple[Ragged, Ragged]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> tuple[Ragged, Ragged]:
        """The categories of each item ("code"), and the items of each category ("item") in the order of the policy."""
        rows = all_rows(self.catalog)
        names = [self.column, self.time] if self.policy == "fresh" else [self.column]
        facts = self.catalog.read("item", rows, names)
        self._check(facts[self.column], self.column, ("text", "list", ""))
        of_item = values_of(facts[self.column])
        if self.policy == "fresh":
            self._check(facts[self.time], self.time, ("time",))
            first = -facts[self.time].astype(np.float64)
        else:
            first = -ops.gather(self.rate, rows, self.overall).astype(np.float64)
        order = np.lexsort((of_item.owner, first[of_item.owner], of_item["code"]))
        ptr = ops.pointers(of_item["code"][order], int(of_item["code"].max(initial=-1)) + 1)
        return of_item, Ragged(ptr, {"item": of_item.owner[order]})

    @staticmethod
    def _check(column: Column, name: str, allowed: tuple[str, ...]) -> None:
        if kind_of(column) not in allowed:
            raise ConfigError(
                f"column {name!r} of the items is a {kind_of(column)}, not a {' or '.join(filter(None, allowed))}",
                where="recall.expansion",
                hint="name another column",
            )
