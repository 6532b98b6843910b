"""Stores and the current release together: answer, take in what happened, swap."""

from __future__ import annotations

import gc
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf
from time import perf_counter, time_ns
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from shortlist import release
from shortlist.batch.golden import warm_up
from shortlist.budget import Breaker, Effort
from shortlist.config import Builder, PipelineTable, Settings
from shortlist.data.held import release as release_held
from shortlist.derived import Derived, all_rows
from shortlist.errors import ConfigError, DataError, NotFound, ReleaseError, StoreError
from shortlist.filters.attribute import Attribute
from shortlist.pipeline import FilterFailed, Pipeline, Recall, Step, Trace
from shortlist.protocols import Feature, Filter
from shortlist.recall.fresh import Fresh
from shortlist.release import Release
from shortlist.rungs import Ladder, LastLists
from shortlist.scenarios import Scenarios
from shortlist.stores import ROLES, Stores, open_stores
from shortlist.stores.embedded import Embedded
from shortlist.stream.fold import TRIES, Resumable, Setbacks, catch_up
from shortlist.types import HISTORY, Candidates, Columns, Events, Mask, Queries, Ragged, Rows, Scores, empty_history

T = TypeVar("T")
SNAPSHOT = 200_000  # events folded after which the state is written out
BATCH = 10  # lists asked together have the time of so many at most
MISSING = "history.error"  # column of queries whose history could not be read: why


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how it came about."""

    slate: Candidates
    trace: Trace
    because: Mapping[str, Rows]  # by source: (N,) the item that spoke most for each row, -1 = none
    explained: Trace  # of the explaining, which never degrades an answer
    release: Release
    effort: float
    rung: NDArray[np.int8]  # (B,) the lowest rung that a place came from, see `rungs.LEVELS`
    age: Scores  # (B,) seconds since a list of rung 2 was made, else NaN


class Runtime:
    """One installation, open. Any thread may call any method; answers never wait for writes."""

    def __init__(self, settings: Settings, stores: Stores, clock: Callable[[], int], *, read_only: bool) -> None:
        if not isinstance(stores.state, Resumable):
            raise ConfigError("this store does not know how far into the log it has come", where="stores.state")
        self.settings, self.kinds, self.clock, self.read_only = settings, settings.kinds, clock, read_only
        self.stores, self.catalog = stores, stores.catalog
        self.state: Resumable = stores.state
        embedded = next((each for each in stores.backends.values() if isinstance(each, Embedded)), None)
        self.held = embedded.held if embedded else None
        self.meta = embedded.meta if embedded else None
        self.scenarios = Scenarios(self.meta, settings, self.catalog, self._by_role())
        self._embedded, self._followed, self._follow_lock = embedded, -1, threading.Lock()
        self._present = Derived(self.catalog, self._removed)
        self.effort = Effort(settings.serve.deadline_ms / 1000)
        self.breaker = Breaker(settings.serve.deadline_ms / 2000)
        self.ladder = Ladder(self.catalog, settings.serve.static_list, LastLists(settings.serve.last_lists_mb << 20))
        self.refused = ""  # a published version that could not be served, and why
        self._attribute = lru_cache(64)(lambda where: Attribute(self.catalog, where))
        self._fold_lock, self._swap_lock = threading.Lock(), threading.Lock()
        self._unsaved = 0
        self.setbacks = Setbacks(tries=TRIES - 1)  # at the start there is no second try: nobody is to be locked out
        self.trained = self.release = self._untrained()  # as it was published, and with what was edited since

    @classmethod
    def open(
        cls, settings: Settings, *, read_only: bool = False, clock: Callable[[], int] = lambda: time_ns() // 1000
    ) -> Self:
        """Open the stores, load the current release, fold what the log holds beyond the last snapshot.

        `clock` gives microseconds since 1970. Raises StoreLocked, ConfigError, ReleaseError.
        """
        stores = open_stores({role: settings.store_url(role) for role in ROLES}, read_only=read_only)
        try:
            runtime = cls(settings, stores, clock, read_only=read_only)
            runtime.refresh()
            if runtime.refused:
                raise ReleaseError(runtime.refused, hint="publish another release, or restore this one from a backup")
            runtime._fold()
        except BaseException:
            stores.close()
            raise
        return runtime

    def close(self) -> None:
        with self._fold_lock:
            try:
                if not self.read_only and self._unsaved:
                    with suppress(StoreError):  # the next start folds from the snapshot before
                        self.state.snapshot()
            finally:
                self.stores.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def queries(
        self,
        user: Rows,
        seed: NDArray[np.uint64],
        *,
        session: Ragged | None = None,
        context: Ragged | None = None,
        exclude: Ragged | None = None,
        where: str = "",
    ) -> Queries:
        """Questions of `user` (B,) asked now.

        `session` (columns item, kind, value, time) is joined to what is stored; `context` and `exclude` have "item",
        and neither is proposed; `where` is a condition on item columns for the whole batch. Rows of unknown items are
        left out.
        """
        now = self.clock()
        history, missing = self._recent(user)
        if session is not None and len(session["item"]):
            history = _joined(history, session)
        history = self._weighed(history)
        context = None if context is None else _in_view(context, now)
        queries = Queries.of(
            user, history=history, context=context, exclude=exclude, time=now, seed=seed, columns=missing
        )
        if missing:
            queries = queries.with_exclude(self.ladder.last.met(user))
        queries = queries.with_exclude(Ragged(queries.context.ptr, {"item": queries.context["item"]}))
        queries = queries.with_allowed(self._present())
        return self._attribute(where).narrow(queries) if where else queries

    def secret(self, name: str) -> bytes:
        """32 bytes that belong to this installation; to this process where nothing keeps them."""
        made = secrets.token_bytes(32)
        return bytes.fromhex(self.meta.once(f"secret.{name}", made.hex())) if self.meta else made

    def recommend(
        self,
        name: str,
        queries: Queries,
        k: int | None = None,
        *,
        explain: bool = True,
        seconds: float = inf,
        trial: Release | None = None,
    ) -> Reply:
        """Answer with pipeline `name`: at most k rows a query, by default the limit of the pipeline. What it cannot
        do in `seconds` (never more than the deadline of the configuration) is done without: see `rungs`. A `trial` is
        asked in place of the current release, and not remembered. Raises NotFound, FilterFailed."""
        serving = trial or self.release  # one release for the whole answer, whatever is swapped meanwhile
        pipeline, size = _named(serving, name), len(queries)
        k = k or pipeline.limit
        patience = min(max(size, 1), BATCH)
        start, effort = perf_counter(), self.effort.share
        until = start + min(seconds, self.settings.serve.deadline_ms / 1000) * patience
        failed = None
        try:
            slate, trace = self._asked(name, pipeline, queries, k, effort, until, patience)
        except FilterFailed as error:
            failed, slate = error, Candidates.empty().with_columns({"fallback": np.empty(0, np.bool_)})
            trace = Trace([Step("filter", "", perf_counter() - start, size, 0, f"FilterFailed: {error}")])
        if MISSING in queries.columns:
            trace.steps.insert(0, Step("question", "history", 0.0, size, 0, str(queries.columns[MISSING][0])))
        slate, age = self.ladder.complete(name, pipeline, queries, slate, trace, k, failed)
        rung = np.full(size, bool(trace.errors) or effort < 1, np.int8)
        np.maximum.at(rung, slate.query, slate.columns["rung"])
        if not trace.errors and trial is None:
            self.ladder.remember(name, queries, slate)
        because, explained = pipeline.because(queries, slate) if explain and perf_counter() < until else ({}, Trace())
        self.effort.record((perf_counter() - start) / max(1, size))
        return Reply(slate, trace, because, explained, serving, effort, rung, age)

    def follow(self) -> None:
        """Where another process writes: see what it has acknowledged, so that the next answer knows it."""
        if not self.read_only or self._embedded is None:
            return
        with self._follow_lock:
            changes = self._embedded.changes()
            if changes != self._followed:
                self._embedded.refresh()
                self._fold()
                with self._swap_lock:
                    if self.scenarios.changed():
                        self._lay_over()
                self._followed = changes

    @property
    def at_hand(self) -> bool:
        """True when an answer now is a matter of this process's memory alone: no store is elsewhere, no class is
        foreign, and nothing is to be taken in first."""
        if self.settings.releases.trust or not all(
            isinstance(each, Embedded) for each in self.stores.backends.values()
        ):
            return False
        return not self.read_only or self._embedded is None or self._embedded.changes() == self._followed

    def ingest(self, events: Events) -> Mask:
        """(E,) true = new. Durable before anything else, and part of the next answer when it returns."""
        new = self.stores.log.append(events)
        self._fold()
        return new

    def arrived(self, items: Sequence[str]) -> int:
        """The catalogue knows `items` (ids) now: what was held for them happens. How many events that were."""
        if self.held is None:
            return 0
        happened = release_held(self.held, items, self.catalog, self.stores.log, self.kinds, self.clock())
        self._fold()
        return happened

    def refresh(self) -> bool:
        """Serve the published release if it is another one; true when swapped. One that cannot be loaded or fails its
        warm-up is remembered in `refused`, and what was served before stays."""
        with self._swap_lock:
            self.ladder.refresh(self.release.pipelines, self.clock())
            root = self.settings.releases_path
            version = release.current(root)
            if version is None or version == self.release.version or version in self.refused:
                return False
            try:
                self._fold()  # so that the state is not behind what the release knows: see `_tell_since`
            except (StoreError, OSError):
                return False  # the next time
            try:
                trained = release.load(root, version, self._by_role(), trust=self.settings.releases.trust)
                warm_up(trained, self.catalog, self.clock())
                loaded = self.scenarios.over(trained, self.clock())
                with self._fold_lock:
                    self._tell_since(trained)
                    self.trained = trained  # from now on told what is folded
            except Exception as error:  # whatever a foreign class raises: what is served now goes on
                self.refused = f"release {version}: {type(error).__name__}: {error}"
                return False
            self.ladder.refresh(loaded.pipelines, self.clock())
            self.release, self.refused = loaded, ""
            gc.collect()
            gc.freeze()
            return True

    def edit(self, name: str, table: PipelineTable | None) -> None:
        """Serve scenario `name` made from `table` from the next answer on, and after every restart and swap; None =
        again as the release has it. Raises ConfigError when the release does not hold what the table needs."""
        with self._swap_lock:
            now = self.clock()
            if table is not None:
                self.scenarios.trial(self.trained, name, table, now)
            self.scenarios.edit(name, table, now)
            self._lay_over()

    def _lay_over(self) -> None:
        """Serve the edits that are kept now. Call it with the lock of swaps held."""
        loaded = self.scenarios.over(self.trained, self.clock())
        self.ladder.refresh(loaded.pipelines, self.clock())
        self.release = loaded

    def _recent(self, user: Rows) -> tuple[Ragged, Columns]:
        """What people did last; where the state cannot be read nothing, and a column that says why."""
        read = Trace()
        history = read.run("question", "history", len(user), lambda: self.state.lists("user", "recent", user), len)
        if history is not None:
            return history, {}
        return empty_history(len(user)), {MISSING: np.full(len(user), read.steps[0].error, object)}

    def _asked(
        self, name: str, pipeline: Pipeline, queries: Queries, k: int, effort: float, until: float, patience: int
    ) -> tuple[Candidates, Trace]:
        """The answer of the pipeline without the sources that were too slow lately."""
        paused = {each: why for each in pipeline.sources if (why := self.breaker.paused(f"{name}.{each}"))}
        for each in paused:
            if self.breaker.due(f"{name}.{each}"):
                trial = (f"{name}.{each}", pipeline.sources[each], queries)
                threading.Thread(target=self._try, args=trial, daemon=True).start()
        if paused:
            left = {each: recall for each, recall in pipeline.sources.items() if each not in paused}
            pipeline = replace(pipeline, sources=left)
        slate, trace = pipeline.recommend(queries, k, effort=effort, until=until)
        for step in trace.steps:
            if step.stage == "recall" and step.seconds:
                self.breaker.record(f"{name}.{step.name}", step.seconds / patience)
        trace.steps[:0] = [Step("recall", each, 0.0, len(queries), 0, why) for each, why in paused.items()]
        return slate, trace

    def _try(self, name: str, recall: Recall, queries: Queries) -> None:
        """Ask a source beside the requests whether it is quick again."""
        start = perf_counter()
        with suppress(Exception):  # it is asked how fast, not what
            recall.source.recall(queries, recall.k)
        self.breaker.record(name, (perf_counter() - start) / min(max(len(queries), 1), BATCH))

    def _fold(self) -> None:
        """In order of the log, each event once, whichever thread comes first; the next makes up for one that failed."""
        with self._fold_lock:
            features = _features(self.trained)  # of which edited scenarios use a part
            self._unsaved += catch_up(self.stores.log, self.state, features, self.settings.history.keep, self.setbacks)
            if self._unsaved >= SNAPSHOT and not self.read_only:
                with suppress(StoreError):  # a full disk stops no answer: the log has it all, a later fold tries again
                    self.state.snapshot()
                self._unsaved = 0

    def _tell_since(self, trained: Release) -> None:
        """Features of a release hear what was folded since their data was read, as if it had been served all along,
        and nothing twice: the state is as far as they are. One made from another log knows what it was made from."""
        start, features = trained.facts.get("offset"), _features(trained)
        if not (start and features):
            return
        with suppress(DataError):
            for _, events in self.stores.log.scan(start, self.state.offset):
                for feature in features:
                    feature.update(events)

    def settle(self, change: Callable[[Resumable], T]) -> T:
        """Change the state while nothing is folded, and write it out."""
        with self._fold_lock:
            changed = change(self.state)
            self.state.snapshot()
            self._unsaved = 0
        return changed

    def _weighed(self, history: Ragged) -> Ragged:
        """With the column "weight" that the training window has, without rows of unknown items."""
        if history["item"].min(initial=0) < 0:
            history = history.where(history["item"] >= 0)
        named = {name: history[name] for name in ("item", "kind", "value", "time")}
        weight = self.kinds.weigh(history.owner, named["item"], named["kind"], named["value"])
        return Ragged(history.ptr, {**named, "weight": weight})

    def _removed(self) -> Mask:
        """(I,) false for items that were removed; (0,) when none was."""
        present = self.catalog.present("item", all_rows(self.catalog))
        return np.empty(0, np.bool_) if present.all() else present

    def _by_role(self) -> dict[str, object]:
        return {role: getattr(self.stores, role) for role in ROLES}

    def _untrained(self) -> Release:
        """Before the first release: the newest items, behind the filters that were configured."""
        builder = Builder({}, self._by_role(), lambda component, where: component, self.settings.releases.trust)
        pipelines = {}
        for name, table in self.settings.pipelines.items():
            filters: dict[str, Filter] = {
                each: builder.component(wanted, f"pipelines.{name}.filters.{each}")
                for each, wanted in table.filters.items()
            }
            pipelines[name] = Pipeline(
                {}, filters, optional=table.optional, fallback=Fresh(self.catalog, ""), limit=table.limit
            )
        return Release("", pipelines, {})


def _named(serving: Release, name: str) -> Pipeline:
    if name not in serving.pipelines:
        raise NotFound(f"there is no scenario {name!r}", hint=f"choose one of: {', '.join(sorted(serving.pipelines))}")
    return serving.pipelines[name]


def _features(serving: Release) -> Sequence[Feature]:
    """Every feature of every pipeline, one that several share once."""
    each = (feature for pipeline in serving.pipelines.values() for feature in pipeline.all_features)
    return list({id(feature): feature for feature in each}.values())


def _joined(history: Ragged, session: Ragged) -> Ragged:
    """Both as one list a query, oldest first; of equal times the stored come first."""
    owner = np.concatenate((history.owner, session.owner))
    order = np.lexsort((np.concatenate((history["time"], session["time"])), owner))
    names = ("item", "kind", "value", "time")
    columns = {name: np.concatenate((history[name], session[name])).astype(HISTORY[name])[order] for name in names}
    return Ragged(history.ptr + session.ptr, columns)


def _in_view(context: Ragged, now: int) -> Ragged:
    """Items in view speak for themselves: weight 1, now."""
    context = context.where(context["item"] >= 0)
    size = len(context["item"])
    like = {"kind": 0, "value": 1, "weight": 1, "time": now}
    return Ragged(
        context.ptr,
        {"item": context["item"], **{name: np.full(size, value, HISTORY[name]) for name, value in like.items()}},
    )
