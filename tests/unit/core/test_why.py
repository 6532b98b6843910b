"""Accounts of components that know nothing of being explained, and of stages that fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from shortlist import why
from shortlist.pipeline import Pipeline, Recall
from shortlist.recall.given import Given
from shortlist.types import HISTORY, Candidates, Mask, Queries, Ragged, Scores

QUERY = Queries.of(
    [0],
    history=Ragged.of(
        [{"item": [7, 8, 9], "kind": [2] * 3, "value": [5] * 3, "weight": [1, 1, 0], "time": [1, 2, 3]}], HISTORY
    ),
)
LINE = Given(np.arange(6, dtype=np.int32), np.arange(6, 0, -1).astype(np.float32))


@dataclass(frozen=True)
class Odd:
    """Lets odd items through, says so beforehand or only afterwards, and knows no reasons."""

    beforehand: bool

    def narrow(self, queries: Queries) -> Queries:
        return queries.with_allowed(np.arange(10) % 2 == 1) if self.beforehand else queries

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        kept: Mask = found.item % 2 == 1
        return kept


class Broken:
    """Fails at everything."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        raise OSError("no answer")

    def narrow(self, queries: Queries) -> Queries:
        raise OSError("no answer")

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        raise OSError("no answer")

    def score(self, queries: Queries, found: Candidates) -> Scores:
        raise OSError("no answer")


class Counted:
    """Counts the even items among its k and then leaves them out."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        found = LINE.recall(queries, k)
        return found.take(found.item % 2 == 1)


class Sum:
    """Item 1 is worth the sum of the weights of the history, item 8 counting twice."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        return LINE.recall(queries, k)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        said = queries.history["weight"] * np.where(queries.history["item"] == 8, 2, 1)
        total = np.bincount(queries.history.owner, said, len(queries))
        return total[found.query].astype(np.float32)


def account(pipeline: Pipeline, item: int, k: int = 2) -> why.Account:
    return why.explain(pipeline, QUERY, item, k, items=10)


@pytest.mark.parametrize("beforehand", [True, False])
def test_a_filter_without_reasons_is_named_all_the_same(beforehand: bool) -> None:
    told = account(Pipeline({"line": Recall(LINE)}, {"odd": Odd(beforehand)}), 0)
    assert told.lost is not None
    assert (told.lost.stage, told.lost.name, told.lost.reason.facts) == ("filter", "odd", {"filter": "odd"})
    assert (told.shown, told.place) == (False, 1)
    assert account(Pipeline({"line": Recall(LINE)}, {"odd": Odd(beforehand)}), 1).shown


def test_every_filter_that_refuses_is_named() -> None:
    both = Pipeline({"line": Recall(LINE)}, {"first": Odd(True)}, late_filters={"second": Odd(False)})
    assert [(each.stage, each.name) for each in account(both, 4).refused] == [("filter", "first"), ("late", "second")]
    assert [each.name for each in account(both, 6).refused] == ["first"]  # no candidate: the late one never sees it


def test_what_fails_is_said_to_have_failed() -> None:
    failing = Pipeline(
        {"line": Recall(LINE), "dead": Recall(Broken())},
        {"broken": Broken(), "odd": Odd(True)},
        scorer=Broken(),
        optional=("broken",),
    )
    told = account(failing, 3)
    assert told.shown
    assert not told.refused
    (line, dead) = told.proposals
    assert line.proposed
    assert (dead.rank, dead.error) == (0, "OSError: no answer")
    assert told.ranked is not None
    assert sum(value * weight for _, value, weight, _ in told.ranked.parts) == pytest.approx(told.ranked.score)
    assert [each.name for each in account(failing, 2).refused] == ["odd"]


def test_a_rank_is_what_a_source_must_be_asked_for() -> None:
    (told,) = account(Pipeline({"counted": Recall(Counted(), 2)}), 3).proposals
    assert told.rank == 4
    assert not told.proposed
    assert 3 in Counted().recall(QUERY, 4).item
    assert 3 not in Counted().recall(QUERY, 3).item
    (never,) = account(Pipeline({"counted": Recall(Counted(), 2)}), 4).proposals
    assert never.rank == 0


def test_the_history_behind_a_score_is_what_it_falls_without() -> None:
    (told,) = account(Pipeline({"sum": Recall(Sum(), 3)}), 1).proposals
    assert told.parts == ((8, 2.0), (7, 1.0))
    (itself,) = account(Pipeline({"sum": Recall(Sum(), 9)}), 8).proposals
    assert dict(itself.parts).keys() <= {7}  # an item is no reason for itself


def test_a_page_without_rules_and_without_candidates_is_told() -> None:
    told = account(Pipeline({}, fallback=LINE), 1)
    assert (told.shown, told.fallback, told.ranked, told.moved) == (True, True, None, ())
    (fallback,) = told.proposals
    assert (fallback.name, fallback.rank) == ("fallback", 2)
    lost = account(Pipeline({}, fallback=LINE), 5).lost
    assert lost is not None
    assert (lost.stage, lost.name, lost.reason.facts["rank"]) == ("recall", "fallback", 6)


def test_asking_why_changes_nothing() -> None:
    pipeline = Pipeline({"line": Recall(LINE)}, {"odd": Odd(True)})
    before = pipeline.recommend(QUERY, 3)[0].item.tolist()
    account(pipeline, 0)
    assert pipeline.recommend(QUERY, 3)[0].item.tolist() == before == [1, 3, 5]
