"""An answer that is late does without what it can do without, and says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from shortlist.pipeline import Pipeline, Recall
from shortlist.recall.given import Given
from shortlist.types import Candidates, Columns, Events, Mask, Positions, Queries, Scores


@dataclass(frozen=True)
class Odd:
    """A filter that is asked for: no even items."""

    def narrow(self, queries: Queries) -> Queries:
        return queries

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        return found.item % 2 == 1


@dataclass(frozen=True)
class Told:
    """Every other stage at once: tells that it was asked."""

    asked: Callable[[str], None]

    def recall(self, queries: Queries, k: int) -> Candidates:
        self.asked("recall")
        return LIST.recall(queries, k)

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        self.asked("feature")
        return {}

    def update(self, events: Events) -> None:
        raise AssertionError

    def score(self, queries: Queries, found: Candidates) -> Scores:
        self.asked("rank")
        return found.item.astype(np.float32)

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        self.asked("rerank")
        return np.arange(min(k, len(found)))


LIST = Given(np.arange(20, dtype=np.int32), -np.arange(20, dtype=np.float32))


def pipeline(asked: list[str]) -> Pipeline:
    told = Told(asked.append)
    return Pipeline({"told": Recall(told, 10)}, {"odd": Odd()}, {"told": told}, told, told, fallback=LIST)


def test_in_time_every_stage_is_asked() -> None:
    asked: list[str] = []
    _, trace = pipeline(asked).recommend(Queries.of([0]), 3, until=perf_counter() + 60)
    assert asked == ["recall", "feature", "rank", "rerank"]
    assert not trace.errors


def test_too_late_the_page_is_full_the_filters_hold_and_the_trace_tells() -> None:
    asked: list[str] = []
    slate, trace = pipeline(asked).recommend(Queries.of([0]), 3, until=perf_counter() - 1)
    assert asked == []
    assert slate.item.tolist() == [1, 3, 5]
    assert [step.stage for step in trace.errors] == ["recall", "feature", "rank", "rerank"]
    assert all(step.error.startswith("Late: ") for step in trace.errors)
