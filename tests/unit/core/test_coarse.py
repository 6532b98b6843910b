"""A cheap ranker before the fine one: what it saves, what it never costs, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import why
from shortlist.config import CoarseTable, PipelineTable, check_coarse, parse
from shortlist.errors import ConfigError
from shortlist.pipeline import Coarse, Pipeline, Recall, Trace
from shortlist.recall.given import Given
from shortlist.types import Candidates, Columns, Events, Queries, Scores

ITEMS = 50
LINE = Given(np.arange(ITEMS, dtype=np.int32), np.arange(ITEMS, 0, -1, dtype=np.float32))
NEW = Given(np.arange(ITEMS - 3, ITEMS, dtype=np.int32), np.ones(3, np.float32))


@dataclass
class Seeing:
    """A feature that counts the rows it was asked about."""

    name: str
    rows: list[int] = field(default_factory=list)

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        self.rows.append(len(found))
        return {f"{self.name}.half": (found.item % 7).astype(np.float32)}

    def update(self, events: Events) -> None:
        pass


@dataclass(frozen=True)
class ByColumn:
    name: str

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return found.columns.get(self.name, np.full(len(found), np.nan, np.float32))


class Broken:
    def score(self, queries: Queries, found: Candidates) -> Scores:
        raise OSError("no answer")


def funnel(coarse: Coarse | None = None, **stages: Any) -> Pipeline:
    sources: Mapping[str, Recall] = {"line": Recall(LINE, 40), "new": Recall(NEW, 3)}
    return Pipeline(sources, scorer=ByColumn("fine.half"), coarse=coarse, **stages)


def asked(count: int = 1) -> Queries:
    return Queries.of(np.arange(count), seed=np.arange(count, dtype=np.uint64))


def test_only_what_goes_on_costs_features_and_the_best_go_on() -> None:
    cheap, dear = Seeing("cheap"), Seeing("fine")
    coarse = Coarse(ByColumn("cheap.half"), 10, {"cheap": cheap})
    _, found = funnel(coarse, features={"dear": dear}).candidates(asked(), Trace())
    assert (cheap.rows, dear.rows) == ([43], [10])
    np.testing.assert_array_equal(found.columns["coarse.score"], found.item % 7)
    every = np.concatenate((np.arange(40), np.arange(47, 50)))
    assert sorted(found.item % 7) == sorted(sorted(every % 7)[-10:])
    assert (np.diff(found.item) > 0).all(), "the order of the table says nothing of the score"


@given(keep=st.integers(1, 60), people=st.integers(1, 6), effort=st.sampled_from((0.25, 1.0)))
def test_many_are_answered_as_each_alone(keep: int, people: int, effort: float) -> None:
    pipeline = funnel(Coarse(None, keep, always=("new",)), features={"dear": Seeing("fine")})
    queries = asked(people).with_allowed(np.arange(ITEMS) % 5 > 0)
    together, _ = pipeline.recommend(queries, 5, effort=effort)
    for b in range(people):
        alone, _ = pipeline.recommend(queries.take(np.array([b])), 5, effort=effort)
        mine = together.take(together.query == b)
        np.testing.assert_array_equal(mine.item, alone.item)
        for name, column in alone.columns.items():
            np.testing.assert_array_equal(mine.columns[name], column, err_msg=name)


def test_a_page_is_never_short_for_what_was_cut() -> None:
    pipeline = funnel(Coarse(ByColumn("line"), 4), features={"dear": Seeing("fine")})
    slate, trace = pipeline.recommend(asked(2), 12)
    assert np.bincount(slate.query).tolist() == [12, 12]
    assert trace.short_by == 0


def test_what_a_source_sends_on_goes_on_beside_the_others() -> None:
    _, found = funnel(Coarse(ByColumn("line"), 5, always=("new", "paused"))).candidates(asked(), Trace())
    assert found.item.tolist() == [0, 1, 2, 3, 4, 47, 48, 49]


def test_the_trace_names_the_stage_and_its_features() -> None:
    coarse = Coarse(ByColumn("cheap.half"), 10, {"cheap": Seeing("cheap")})
    _, trace = funnel(coarse, features={"dear": Seeing("fine")}).recommend(asked(), 5)
    steps = [(step.label, step.rows_in, step.rows_out) for step in trace.steps[-6:]]
    assert steps == [
        ("merge", 43, 43),
        ("feature coarse.cheap", 43, 43),
        ("coarse ByColumn", 43, 10),
        ("feature dear", 10, 10),
        ("rank ByColumn", 10, 10),
        ("rerank top-k", 10, 5),
    ]


def test_one_that_fails_is_replaced_by_the_votes_of_the_sources_and_counted() -> None:
    pipeline = funnel(Coarse(Broken(), 5), features={"dear": Seeing("fine")})
    slate, trace = pipeline.recommend(asked(), 5)
    assert trace.level == "partial"
    assert trace.reasons == ["coarse Broken: OSError: no answer"]
    assert sorted(slate.item.tolist()) == [0, 1, 2, 47, 48]
    fused, fine = funnel(Coarse(None, 5), features={"dear": Seeing("fine")}).recommend(asked(), 5)
    assert not fine.errors
    np.testing.assert_array_equal(slate.item, fused.item)


def test_in_a_hurry_it_is_spared_and_the_page_is_whole() -> None:
    cheap = Seeing("cheap")
    pipeline = funnel(Coarse(ByColumn("cheap.half"), 5, {"cheap": cheap}), fallback=LINE)
    slate, trace = pipeline.recommend(asked(), 5, until=perf_counter() - 1)
    assert len(slate) == 5
    assert not cheap.rows
    assert "coarse ByColumn" in {step.label for step in trace.errors}


def test_less_effort_lets_less_through_but_never_less_than_a_page() -> None:
    pipeline = funnel(Coarse(ByColumn("line"), 20))
    for effort, k, through in ((1.0, 5, 20), (0.5, 5, 10), (0.1, 5, 5)):
        trace = Trace()
        _, found = pipeline.candidates(asked(), trace, effort, k)
        assert np.count_nonzero(~np.isnan(found.columns["line"])) <= through
        assert len(found) == min(through, int(40 * effort) + 3 if effort < 0.2 else through)


def test_everybody_who_is_told_of_events_is_found() -> None:
    cheap, dear = Seeing("cheap"), Seeing("fine")
    assert funnel(Coarse(None, 5, {"cheap": cheap}), features={"dear": dear}).all_features == [cheap, dear]
    assert funnel(features={"dear": dear}).all_features == [dear]


# why


def account(pipeline: Pipeline, item: int) -> why.Account:
    return why.explain(pipeline, asked(), item, 3, items=ITEMS)


def test_why_says_that_and_by_how_much_an_item_was_lost_in_the_coarse_stage() -> None:
    pipeline = funnel(Coarse(ByColumn("line"), 10), features={"dear": Seeing("fine")})
    told = account(pipeline, 30)
    assert told.coarse == why.Cut("ByColumn", 31, 43, 20.0, 10, 41.0, passed=False)
    assert told.ranked is None
    lost = told.lost
    assert lost is not None
    assert (lost.stage, lost.name) == ("coarse", "ByColumn")
    assert lost.reason.facts == {"place": 31, "of": 43, "score": 20.0, "kept": 10, "last": 41.0}


def test_why_of_what_went_on_goes_on_to_the_fine_ranker() -> None:
    pipeline = funnel(Coarse(ByColumn("line"), 10, always=("new",)), features={"dear": Seeing("fine")})
    for item, place, of_page, lost in ((7, 8, 0, "rank"), (6, 7, 1, None), (48, 42, 2, None)):
        told = account(pipeline, item)
        assert told.coarse is not None
        assert (told.coarse.passed, told.coarse.place) == (True, place)
        assert told.ranked is not None
        assert (told.place, told.lost and told.lost.stage) == (of_page, lost)


def test_why_tells_what_happened_when_the_coarse_ranker_failed() -> None:
    told = account(funnel(Coarse(Broken(), 10), features={"dear": Seeing("fine")}), 30)
    assert told.coarse is not None
    assert told.coarse.name == "ReciprocalRank"
    assert told.lost is not None
    assert told.lost.stage == "coarse"


def test_what_nobody_proposes_was_not_lost_in_the_coarse_stage() -> None:
    told = account(replace(funnel(Coarse(None, 10)), sources={"line": Recall(LINE, 20)}), 30)
    assert told.coarse is None
    assert told.lost is not None
    assert told.lost.stage == "recall"


# configuration


def test_the_configuration_is_checked_at_the_door() -> None:
    table = PipelineTable(limit=20, sources={"popular": {"use": "recall.popular:Popular"}})
    check_coarse(table, "pipelines.home")
    for coarse, said in (
        (CoarseTable(keep=10), "at least as many candidates must go on as a page has places, 20"),
        (CoarseTable(rank={"use": "rank.logistic:Logistic"}), "keep is 0"),
        (CoarseTable(keep=50, always=("old",)), "there is no source 'old'"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_coarse(replace(table, coarse=coarse), "pipelines.home")
    with pytest.raises(ConfigError, match=r"pipelines.home.coarse: .*has no field 'kept'"):
        parse({"pipelines": {"home": {"sources": {"p": {"use": "recall.popular:Popular"}}, "coarse": {"kept": 5}}}})
