"""The ladder: what fills a page when the pipeline cannot. Everything here is in memory and needs no store.

| rung | what | level |
|---|---|---|
| 0 | the whole pipeline | none |
| 1 | the pipeline without a source, a feature, its ranker or its reranker | partial |
| 2 | the last good list of this person, when no source answered or a filter failed | stale |
| 3 | the pipeline's fallback: what everybody likes, within the category that was asked for | fallback_popular |
| 4 | the list of the configuration, then whatever the catalogue holds, newest first | fallback_static |

A list has the level of the lowest rung that one of its places came from. Hard filters hold on every rung. A filter that
cannot be applied is replaced by what it let through when it was last asked, without anything the person has met; where
even that is not known (a promise about one person, who has no last good list), the request fails: `FilterFailed`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.pipeline import FilterFailed, GivenLists, Pipeline, Trace
from shortlist.protocols import Catalog, Filter
from shortlist.recall.given import Given
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores

Level = Literal["none", "partial", "stale", "fallback_popular", "fallback_static"]
LEVELS: tuple[Level, ...] = ("none", "partial", "stale", "fallback_popular", "fallback_static")
STALE, POPULAR, STATIC = 2, 3, 4
LASTS = 30_000_000  # microseconds that what filters say is good for while the catalogue stays as it is
NOTHING: Rows = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Shown:
    """The last good list of a person, and what they had met by then."""

    item: Rows
    met: Rows
    time: int  # microseconds

    @property
    def size(self) -> int:
        """Bytes, roughly: arrays and the objects around them."""
        return self.item.nbytes + self.met.nbytes + 500


class LastLists:
    """The last good list of each person in each scenario, `limit` bytes in all: who was answered longest ago goes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._lock = threading.Lock()
        self._held: OrderedDict[int, dict[str, Shown]] = OrderedDict()

    def put(self, scenario: str, user: int, shown: Shown) -> None:
        with self._lock:
            lists = {**self._held.get(user, {}), scenario: shown}
            self._drop(user)
            self._held[user] = lists
            self.size += sum(each.size for each in lists.values())
            while self.size > self.limit:
                self._drop(next(iter(self._held)))

    def get(self, scenario: str, user: int) -> Shown | None:
        return self._held.get(user, {}).get(scenario)

    def met(self, users: Rows) -> Ragged:
        """What each of `users` (B,) had met when they were last answered: B lists of "item"."""
        known = [[each.met for each in self._held.get(user, {}).values()] for user in users.tolist()]
        return Ragged.of([{"item": np.concatenate([NOTHING, *each])} for each in known], {"item": np.int32})

    def forget(self, user: int) -> None:
        """Everything about one person."""
        with self._lock:
            self._drop(user)

    def _drop(self, user: int) -> None:
        self.size -= sum(each.size for each in self._held.pop(user, {}).values())


@dataclass
class Ladder:
    """The rungs below the pipeline, and the memory they need."""

    catalog: Catalog
    static: tuple[str, ...]  # ids, best first: the list of the configuration
    last: LastLists
    _mark: tuple[int, int, int] = (0, 0, 0)
    _let_through: dict[tuple[str, str], Mask] = field(default_factory=dict)
    _everything: Given = field(default_factory=lambda: Given(np.empty(0, np.int32), np.empty(0, np.float32)))

    def refresh(self, pipelines: Mapping[str, Pipeline], now: int) -> None:
        """Ask the catalogue what it holds, and every filter which of it nobody in particular may see. Called when a
        release is taken up and every second; what cannot be asked stays as it was."""
        with suppress(Exception):  # out of order: what it said last counts
            mark = (id(pipelines), self.catalog.version("item"), now // LASTS)
            if mark == self._mark:
                return
            self._mark = mark
            chosen = self.catalog.rows("item", self.static)
            newest = np.arange(self.catalog.size("item"), dtype=np.int32)[::-1]
            item = np.array(list(dict.fromkeys(chosen[chosen >= 0].tolist())), np.int32)
            item = np.concatenate((item, newest[~np.isin(newest, item)]))
            self._everything = Given(item, -np.arange(len(item), dtype=np.float32))
        for scenario, pipeline in pipelines.items():
            for name, each in _filters(pipeline).items():
                with suppress(Exception):  # as above
                    self._let_through[scenario, name] = self._allowed(each, now)

    def remember(self, scenario: str, queries: Queries, slate: Candidates) -> None:
        """Keep those of these lists that came from the pipeline alone and were asked by somebody, for no special
        condition: an item in view, or a filter that leaves less than half of the catalogue."""
        if len(queries.context["item"]) or 2 * np.count_nonzero(queries.allowed) < len(queries.allowed):
            return
        ptr, met = ops.pointers(slate.query, len(queries)), queries.history
        lowest = np.zeros(len(queries), np.int8)
        lowest[slate.query[slate.columns["rung"] > 0]] = 1
        for b in np.flatnonzero((queries.user >= 0) & (lowest == 0) & (ptr[1:] > ptr[:-1])).tolist():
            own = met["item"][met.ptr[b] : met.ptr[b + 1]].copy()
            self.last.put(
                scenario, int(queries.user[b]), Shown(slate.item[ptr[b] : ptr[b + 1]].copy(), own, int(queries.time[b]))
            )

    def complete(
        self,
        scenario: str,
        pipeline: Pipeline,
        queries: Queries,
        slate: Candidates,
        trace: Trace,
        k: int,
        failed: FilterFailed | None = None,
    ) -> tuple[Candidates, Scores]:
        """`slate` with every place filled for which there is an item that may be shown, and the column "rung"; (B,) the
        age in seconds of lists that are stale, else NaN. `trace` is told; `failed` is why there is no slate at all."""
        own = ~slate.columns["fallback"]
        slate = slate.with_columns({"rung": np.where(own, 0, POPULAR).astype(np.int8)})
        disturbed = failed is not None or any(step.stage == "recall" and step.error for step in trace.steps)
        if not disturbed and len(slate) == k * len(queries):
            return slate, np.full(len(queries), np.nan, np.float32)
        lost = disturbed & (np.bincount(slate.query[own], minlength=len(queries)) == 0)
        slate = slate.take(~lost[slate.query])
        guards = {
            name: _Guard(each, self._let_through.get((scenario, name))) for name, each in _filters(pipeline).items()
        }
        bare = Pipeline({}, guards, optional=pipeline.optional)
        lists, age = self._stale(scenario, queries)
        for rung, source in ((STALE, GivenLists(lists)), (POPULAR, pipeline.fallback), (STATIC, self._everything)):
            places = k - np.bincount(slate.query, minlength=len(queries))
            needy = np.flatnonzero((places > 0) & (lost | (rung == STATIC)))
            if source is not None and len(needy):
                own_lists = GivenLists(lists.take(needy)) if rung == STALE else source
                slate = self._filled(replace(bare, fallback=own_lists), rung, queries, slate, needy, places, trace)
        blind = any(guard.blind for name, guard in guards.items() if name not in pipeline.optional)
        if failed is not None and blind:
            slate = slate.take((slate.columns["rung"] <= STALE) | (queries.user[slate.query] < 0))
            known = queries.user >= 0
            if not (np.bincount(slate.query, minlength=len(queries))[known] > 0).all():
                raise failed
        age[np.setdiff1d(np.arange(len(queries)), slate.query[slate.columns["rung"] == STALE])] = np.nan
        trace.filled = int(np.count_nonzero(slate.columns["rung"]))
        trace.short_by = k * len(queries) - len(slate)
        return slate.with_columns({"fallback": slate.columns["rung"] > 0}), age

    def _filled(
        self,
        pipeline: Pipeline,
        rung: int,
        queries: Queries,
        slate: Candidates,
        needy: NDArray[np.intp],
        places: NDArray[np.intp],
        trace: Trace,
    ) -> Candidates:
        """`slate` with what the fallback of `pipeline` has for the free places of the queries `needy`."""
        shown = Ragged(ops.pointers(slate.query, len(queries)), {"item": slate.item})
        asked = queries.take(needy).with_exclude(shown.take(needy))
        more, below = pipeline.recommend(asked, int(places[needy].max()))
        trace.steps += [step._replace(name=LEVELS[rung]) for step in below.steps if step.stage == "fallback"]
        place = np.arange(len(more)) - ops.pointers(more.query, len(asked))[:-1][more.query]
        more = more.take(place < places[needy][more.query])
        marked = Candidates(needy[more.query].astype(np.int32), more.item, more.columns)
        return Candidates.concat([slate, marked.with_columns({"rung": np.full(len(marked), rung, np.int8)})])

    def _allowed(self, filter: Filter, now: int) -> Mask:
        """(I,) what the filter lets through for nobody in particular."""
        item = np.arange(self.catalog.size("item"), dtype=np.int32)
        nobody = filter.narrow(Queries.of([-1], time=now))
        every = Candidates(np.zeros(len(item), np.int32), item)
        allowed: Mask = ops.gather(nobody.allowed, item, True) & ~ops.contains(nobody.exclude, every.query, item)
        with suppress(KeyError):  # a late filter that needs a feature column says what it can when it narrows
            allowed &= filter.keep(nobody, every)
        return allowed

    def _stale(self, scenario: str, queries: Queries) -> tuple[Ragged, Scores]:
        """The last good list of each person and its age in seconds."""
        lists: list[Mapping[str, Rows]] = []
        age = np.full(len(queries), np.nan, np.float32)
        for b, user in enumerate(queries.user.tolist()):
            shown = self.last.get(scenario, user)
            lists.append({"item": NOTHING if shown is None else shown.item})
            if shown is not None:
                age[b] = (queries.time[b] - shown.time) / 1e6
        return Ragged.of(lists, {"item": np.int32}), age


@dataclass
class _Guard:
    """A filter that never fails: out of order, it lets through what it let through for nobody in particular, without
    anything that the person has met."""

    filter: Filter
    allowed: Mask | None  # (I,); None = it was never asked
    narrowed: bool = True
    kept: bool = True

    @property
    def blind(self) -> bool:
        """True when it could say nothing about the people who ask."""
        return not self.kept and (not self.narrowed or self.allowed is None)

    def narrow(self, queries: Queries) -> Queries:
        try:
            return self.filter.narrow(queries)
        except Exception:
            self.narrowed = False
        met = Ragged(queries.history.ptr, {"item": queries.history["item"]})
        return queries.with_exclude(met).with_allowed(self._known)

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        try:
            return self.filter.keep(queries, found)
        except Exception:
            self.kept = False
        met = Ragged(queries.history.ptr, {"item": queries.history["item"]})
        kept: Mask = ops.gather(self._known, found.item, True)
        return kept & ~ops.contains(met, found.query, found.item)

    @property
    def _known(self) -> Mask:
        return np.empty(0, np.bool_) if self.allowed is None else self.allowed


def _filters(pipeline: Pipeline) -> dict[str, Filter]:
    return {**pipeline.filters, **pipeline.late_filters}
