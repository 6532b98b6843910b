"""The ladder: under every single fault the page is full, nothing forbidden is on it, and it says its rung."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from shortlist.budget import Breaker
from shortlist.config import Settings
from shortlist.errors import StoreError
from shortlist.pipeline import FilterFailed, Pipeline, Recall
from shortlist.rungs import LEVELS, STALE, LastLists, Shown
from shortlist.runtime import Reply, Runtime
from shortlist.types import Candidates, Columns, Events, Mask, Positions, Queries, Ragged, Scores

NOW = 1_700_000_000_000_000
PAGE = 10
FAULTS = (
    "every source",
    "one source",
    "slow source",
    "feature",
    "scorer",
    "reranker",
    "fallback",
    "sources and fallback",
    "state",
    "seen narrow",
    "seen keep",
    "available narrow",
    "available keep",
)


class Down(Exception):
    """What a store or a model raises when it is out of order."""


@dataclass(frozen=True)
class Broken:
    """Every stage at once, each raising."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        raise Down("recall")

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        raise Down("columns")

    def update(self, events: Events) -> None:
        raise Down("update")

    def score(self, queries: Queries, found: Candidates) -> Scores:
        raise Down("score")

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        raise Down("order")


@dataclass(frozen=True)
class Half:
    """A filter of which some methods are out of order."""

    filter: Any
    narrows: bool
    keeps: bool

    def narrow(self, queries: Queries) -> Queries:
        if not self.narrows:
            raise Down("narrow")
        found: Queries = self.filter.narrow(queries)
        return found

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        if not self.keeps:
            raise Down("keep")
        kept: Mask = self.filter.keep(queries, found)
        return kept


@dataclass(frozen=True)
class Slow:
    """A source that takes as long as `wait` does."""

    source: Any
    wait: Callable[[], None]

    def recall(self, queries: Queries, k: int) -> Candidates:
        self.wait()
        found: Candidates = self.source.recall(queries, k)
        return found


@pytest.fixture
def runtime(installation: Settings) -> Iterator[Runtime]:
    with Runtime.open(installation, clock=lambda: NOW) as runtime:
        rows = np.arange(0, 90, 7, dtype=np.int32)
        runtime.catalog.put("item", rows, {"available": np.zeros(len(rows), np.bool_)})
        runtime.refresh()
        yield runtime


def ask(runtime: Runtime, user: int, n: int = PAGE, exclude: tuple[int, ...] = (), where: str = "") -> Reply:
    lists = Ragged.of([{"item": list(exclude)}], {"item": np.int32})
    queries = runtime.queries(np.array([user], np.int32), np.array([7], np.uint64), where=where)
    return runtime.recommend("home", queries.with_exclude(lists), n)


def serve(runtime: Runtime, change: Callable[[Pipeline], Pipeline]) -> None:
    pipelines = {**runtime.release.pipelines, "home": change(runtime.release.pipelines["home"])}
    runtime.release = replace(runtime.release, pipelines=pipelines)


def inject(runtime: Runtime, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put `fault` into the pipeline "home" of a running installation."""

    def change(pipeline: Pipeline) -> Pipeline:
        sources = dict(pipeline.sources)
        match fault.split():
            case ["every", "source"] | ["sources", *_]:
                sources = {name: Recall(Broken(), each.k) for name, each in sources.items()}
            case ["one", "source"]:
                sources["ease"] = Recall(Broken(), 40)
            case ["slow", "source"]:
                runtime.breaker.record("home.ease", 60.0)
            case ["feature"]:
                return replace(pipeline, features={"broken": Broken()})
            case ["scorer"]:
                return replace(pipeline, scorer=Broken())
            case ["reranker"]:
                return replace(pipeline, reranker=Broken())
            case [("seen" | "available") as name, method]:
                half = Half(pipeline.filters[name], method == "keep", method == "narrow")
                return replace(pipeline, filters={**pipeline.filters, name: half})
        fallback = Broken() if "fallback" in fault else pipeline.fallback
        return replace(pipeline, sources=sources, fallback=fallback)

    if fault == "state":

        def lists(*_: object) -> Ragged:
            raise StoreError("the state does not answer")

        monkeypatch.setattr(runtime.state, "lists", lists)
    serve(runtime, change)


def forbidden(runtime: Runtime, user: int) -> set[int]:
    """What a person has met, and what cannot be had."""
    met = runtime.state.lists("user", "recent", np.array([user], np.int32))["item"].tolist()
    return {*met, *range(0, 90, 7)}


@pytest.mark.fault("M10")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("asked_before", [True, False])
def test_no_fault_empties_a_page_or_shows_what_is_forbidden(
    runtime: Runtime, fault: str, asked_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = {user: forbidden(runtime, user) for user in (3, 17, 42)}
    if asked_before:
        for user in never:
            ask(runtime, user)
    inject(runtime, fault, monkeypatch)
    drama = runtime.catalog.read("item", np.arange(90, dtype=np.int32), ["genres"])["genres"]
    for user, items in never.items():
        known = asked_before or fault != "state"  # whose history nobody can read: as far as is known
        for extra, where in (((), ""), ((1, 2, 3, 4, 5), ""), ((), "'Drama' in genres")):
            reply = ask(runtime, user, exclude=extra, where=where)
            shown = reply.slate.item.tolist()
            allowed = [row for row in range(90) if not where or "Drama" in drama[row]]
            out = {*extra, *(items if known else range(0, 90, 7))}
            assert not set(shown) & out
            assert set(shown) <= set(allowed)
            assert len(shown) == len(set(shown)) == min(PAGE, len(set(allowed) - out))
            assert reply.trace.short_by == PAGE - len(shown)
            if fault != "fallback":  # which nobody asks while the page is full
                assert reply.rung[0] > 0
                assert reply.trace.errors


@pytest.mark.fault("M11")
@given(
    fault=st.sampled_from(FAULTS),
    user=st.integers(-1, 59),
    n=st.integers(1, 90),
    exclude=st.lists(st.integers(0, 89), max_size=90),
)
@profile(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_page_is_as_full_as_the_catalogue_allows(
    runtime: Runtime, fault: str, user: int, n: int, exclude: list[int]
) -> None:
    """Filled from the next rungs until n or until nothing that may be shown is left."""
    healthy = runtime.release
    never = forbidden(runtime, user)
    ask(runtime, user)
    with pytest.MonkeyPatch.context() as monkeypatch:
        inject(runtime, fault, monkeypatch)
        try:
            shown = ask(runtime, user, n, tuple(exclude)).slate.item.tolist()
        finally:
            runtime.release = healthy
            runtime.breaker = Breaker(runtime.breaker.budget)
    # where nobody can read the history, what was met is known from the last list: of people who got one
    eligible = set(range(90)) - never - set(exclude)
    assert not set(shown) - eligible
    assert len(shown) == len(set(shown)) == min(n, len(eligible))


def test_the_last_good_list_comes_back_with_its_age(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ask(runtime, 3).slate.item.tolist()
    inject(runtime, "every source", monkeypatch)
    monkeypatch.setattr(runtime, "clock", lambda: NOW + 90_000_000)
    reply = ask(runtime, 3, exclude=(before[0],))
    assert reply.slate.item.tolist()[: PAGE - 1] == before[1:]
    assert LEVELS[reply.rung[0]] == "fallback_popular"  # for the one place that the last list does not fill
    assert reply.age.tolist() == [90.0]
    assert LEVELS[ask(runtime, 3, n=5).rung[0]] == "stale"
    assert LEVELS[ask(runtime, 4).rung[0]] == "fallback_popular"


def test_the_static_list_of_the_configuration_is_the_last_rung(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = replace(installation, serve=replace(installation.serve, static_list=("i60", "nobody", "i61", "i60", "i2")))
    with Runtime.open(chosen, clock=lambda: NOW) as runtime:
        inject(runtime, "sources and fallback", monkeypatch)
        reply = ask(runtime, -1, exclude=(61,))
        assert reply.slate.item.tolist()[:4] == [60, 2, 89, 88]
        assert LEVELS[reply.rung[0]] == "fallback_static"


def test_a_promise_that_nobody_can_keep_fails_the_request(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ask(runtime, 3).slate.item.tolist()
    blind = Half(None, narrows=False, keeps=False)
    serve(runtime, lambda pipeline: replace(pipeline, filters={**pipeline.filters, "seen": blind}))
    assert ask(runtime, 3).slate.item.tolist() == shown  # these have passed it
    with pytest.raises(FilterFailed, match="seen"):
        ask(runtime, 4)
    assert len(ask(runtime, -1).slate) == PAGE


def test_a_filter_that_is_optional_fails_no_request_when_another_one_is_out_of_order(runtime: Runtime) -> None:
    half = Half(runtime.release.pipelines["home"].filters["available"], narrows=True, keeps=False)
    blind = Half(None, narrows=False, keeps=False)
    broken = {"available": half, "nice": blind}
    serve(
        runtime,
        lambda pipeline: replace(pipeline, filters={**pipeline.filters, **broken}, optional=("nice",)),
    )
    reply = ask(runtime, 4)  # somebody without a last good list
    assert len(reply.slate) == PAGE
    assert not {item for item in reply.slate.item.tolist() if item % 7 == 0}
    serve(runtime, lambda pipeline: replace(pipeline, optional=()))
    with pytest.raises(FilterFailed):
        ask(runtime, 4)


def test_a_source_that_was_too_slow_is_tried_beside_the_requests() -> None:
    now = [0.0]
    breaker = Breaker(0.5, clock=lambda: now[0])
    breaker.record("slow", 0.4)
    assert breaker.paused("slow") == ""
    breaker.record("slow", 0.7)
    assert breaker.paused("slow") == "Paused: took 0.70 s, 0.50 s are allowed"
    assert breaker.states() == {"slow": 1.0}
    assert not breaker.due("slow")
    now[0] = 1.0
    assert [breaker.due("slow"), breaker.due("slow")] == [True, False]
    breaker.record("slow", 0.9)
    assert breaker.states() == {"slow": 2.0}
    now[0] = 3.0
    assert breaker.due("slow")
    breaker.record("slow", 0.1)
    assert breaker.paused("slow") == ""


def test_a_slow_source_holds_one_request_and_comes_back(runtime: Runtime) -> None:
    waits = [0.08]
    budget = 0.05

    def wait() -> None:
        from time import sleep

        sleep(waits[0])

    now = [0.0]
    runtime.breaker = Breaker(budget, clock=lambda: now[0])
    serve(
        runtime,
        lambda pipeline: replace(
            pipeline, sources={**pipeline.sources, "ease": Recall(Slow(pipeline.sources["ease"].source, wait), 40)}
        ),
    )
    ask(runtime, 3)
    reply = ask(runtime, 3)
    assert [step.error.partition(":")[0] for step in reply.trace.errors] == ["Paused"]
    assert LEVELS[reply.rung[0]] == "partial"
    waits[0], now[0] = 0.0, 1.0
    ask(runtime, 3)  # starts the trial
    while runtime.breaker.paused("home.ease"):
        pass
    assert not ask(runtime, 3).trace.errors


def test_last_lists_are_bounded_and_forgotten() -> None:
    def shown(size: int) -> Shown:
        return Shown(np.arange(size, dtype=np.int32), np.arange(3, dtype=np.int32), NOW)

    lists = LastLists(3 * shown(10).size)
    for user in range(5):
        lists.put("home", user, shown(10))
    assert [lists.get("home", user) is not None for user in range(5)] == [False, False, True, True, True]
    assert lists.size <= lists.limit
    assert [each.tolist() for each in (lists.met(np.array([2, 0]))["item"],)] == [[0, 1, 2]]
    lists.forget(3)
    assert lists.get("home", 3) is None
    lists.put("similar", 2, shown(10))
    lists.put("home", 2, shown(4))
    assert lists.size == 2 * shown(10).size + shown(4).size
    assert LEVELS.index("stale") == STALE
