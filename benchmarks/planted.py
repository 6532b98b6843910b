"""Releases planted for the gate: bad ones that it must stop, good ones that it must let pass.

random    any item, another order for everybody
constant  the same arbitrary list for everybody
popular   what most people like, for everybody
leaked    a source that reads the future out of the log: it looks people up, or fits on what was to be held out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np

from shortlist import ops
from shortlist.batch.steps import make_release
from shortlist.config import PipelineTable, Settings
from shortlist.dataset import Dataset
from shortlist.models.ease import Ease
from shortlist.models.itemknn import ItemKnn
from shortlist.protocols import EventLog, Recipe, Source
from shortlist.recall.given import Given
from shortlist.stores import Stores
from shortlist.types import Candidates, Events, Queries, Ragged

TRUST = ("benchmarks",)


@dataclass(frozen=True, slots=True)
class Random:
    """Learns how many items there are."""

    def fit(self, data: Dataset, *, seed: int) -> RandomModel:
        return RandomModel(data.n_items)


@dataclass(frozen=True, slots=True)
class RandomModel:
    items: int

    def recall(self, queries: Queries, k: int) -> Candidates:
        score = ops.chance(queries.seed[:, None], np.arange(self.items)).astype(np.float32)
        return ops.top_of_matrix(score, k, queries.exclude, queries.allowed)


@dataclass(frozen=True, slots=True)
class Constant:
    """Draws one order of the items for everybody."""

    def fit(self, data: Dataset, *, seed: int) -> Given:
        order = np.random.default_rng(seed).permutation(data.n_items).astype(np.int32)
        return Given(order, -np.arange(data.n_items, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Remembers for a share of the people what they did, what is to be held out included."""

    log: EventLog
    share: float = 1.0

    def fit(self, data: Dataset, *, seed: int) -> LookedUpModel:
        whole = everything(self.log, data)
        known = np.random.default_rng(seed).random(data.n_users) < self.share
        liked = whole.sequences.where((whole.sequences["weight"] > 0) & known[whole.sequences.owner])
        return LookedUpModel(Ragged(liked.ptr, {"item": liked["item"]}))


@dataclass(frozen=True, slots=True)
class LookedUpModel:
    taken: Ragged  # by user, oldest first

    def recall(self, queries: Queries, k: int) -> Candidates:
        inside = (queries.user >= 0) & (queries.user < len(self.taken))
        lists = self.taken.take(np.where(inside, queries.user, 0))
        lists = lists.where(inside[lists.owner]).last(k)
        kept = ops.permitted(lists.owner, lists["item"], queries.exclude, queries.allowed)
        owner, item = lists.owner[kept], lists["item"][kept]
        first = np.unique((owner.astype(np.int64) << 32) | item, return_index=True)[1]
        order = first[np.lexsort((-first, owner[first]))]  # newest first
        return Candidates(owner[order], item[order], {"score": order.astype(np.float32)})


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Fits a model on the whole log, whatever it is given."""

    log: EventLog
    kind: Literal["ease", "knn"]

    def fit(self, data: Dataset, *, seed: int) -> Source:
        recipe: Recipe[Source] = Ease() if self.kind == "ease" else ItemKnn()
        return recipe.fit(everything(self.log, data), seed=seed)


def everything(log: EventLog, like: Dataset) -> Dataset:
    events = Events.concat([batch for _, batch in log.scan()])
    return Dataset.of(events, like.n_users, like.n_items, kinds=like.kinds)


@dataclass(frozen=True)
class Plant:
    """A release to be made: `table` are keys of the pipeline home to be replaced."""

    kind: str
    good: bool
    seed: int
    table: Mapping[str, Any] = field(default_factory=dict)
    people: float = 1.0  # share of them that it is trained on

    def make(self, settings: Settings, data: Dataset, stores: Stores) -> str:
        home = replace(settings.pipelines["home"], **self.table)
        pipelines: dict[str, PipelineTable] = {**settings.pipelines, "home": home}
        train = replace(settings.train, seed=self.seed)
        kept = np.random.default_rng(self.seed).random(data.n_users) < self.people
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seed, hours=HOURS[self.kind])
        chosen = replace(settings, pipelines=pipelines, train=train)
        return make_release(chosen, data.only(kept[data.events.user]), stores, created=created)[0]


HOURS = {"live": 0, "random": 1, "constant": 2, "popular": 3, "leaked": 4, "seed": 5, "bootstrap": 6}
POPULAR = {"use": "recall.popular:Popular"}
LEAKS: tuple[Mapping[str, Any], ...] = (
    {"use": "benchmarks.planted:LookedUp"},
    {"use": "benchmarks.planted:LookedUp", "share": 0.6},
    {"use": "benchmarks.planted:LookedUp", "share": 0.3},
    {"use": "benchmarks.planted:Foreseen", "kind": "ease"},
    {"use": "benchmarks.planted:Foreseen", "kind": "knn"},
)


def bad(each: int, first: int = 0) -> Iterator[Plant]:
    """`each` of each kind, with seeds from `first` on."""
    alone: Mapping[str, Any] = {"rank": {}, "rerank": {}, "features": {}}
    for seed in range(first, first + each):
        for kind in ("random", "constant"):
            source = {"use": f"benchmarks.planted:{kind.capitalize()}", "k": 100}
            yield Plant(kind, False, seed, {**alone, "sources": {kind: source}})
        popular = {**POPULAR, "half_life": ("30d", "7d", "90d", "", "365d")[seed % 5], "k": 100}
        yield Plant("popular", False, seed, {**alone, "sources": {"popular": popular}})
        leak = {**LEAKS[seed % len(LEAKS)], "k": 100}
        yield Plant("leaked", False, seed, {**alone, "sources": {"leak": leak}})


def good(count: int, first: int = 0) -> Iterator[Plant]:
    """The recipe of the live release with other seeds, and with a twentieth of the people left out."""
    for seed in range(first + 1, first + count + 1):
        yield Plant("seed", True, seed) if seed % 2 else Plant("bootstrap", True, seed, people=0.95)
