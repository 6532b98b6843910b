"""The funnel, and what each kind of failure means: every row of the table in pipeline.py."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from shortlist import Candidates, FilterFailed, Pipeline, Queries, Recall, ShapeError
from shortlist.ops import topk


@dataclass(frozen=True)
class Fixed:
    """Proposes the same items to everyone, best first."""

    item: tuple[int, ...]
    error: Exception | None = None

    def recall(self, queries, k):
        if self.error:
            raise self.error
        b, item = len(queries), np.int32(self.item[:k])
        score = np.tile(-np.arange(len(item), dtype=np.float32), b)
        return Candidates(np.repeat(np.arange(b, dtype=np.int32), len(item)), np.tile(item, b), {"score": score})

    def because(self, queries, found):
        return (found.item + 100).astype(np.int32)


@dataclass(frozen=True)
class Never:
    """Removes some items; may fail."""

    item: tuple[int, ...] = ()
    error: Exception | None = None

    def narrow(self, queries):
        return queries

    def keep(self, queries, found):
        if self.error:
            raise self.error
        return ~np.isin(found.item, self.item)


@dataclass(frozen=True)
class ByItem:
    """Larger item rows score higher."""

    error: Exception | None = None
    shape: tuple[int, ...] = ()

    def score(self, queries, found):
        if self.error:
            raise self.error
        return np.zeros(self.shape, np.float32) if self.shape else found.item.astype(np.float32)


@dataclass(frozen=True)
class Broken:
    """A feature, reranker and sink that fails."""

    error: Exception = field(default_factory=lambda: OSError("gone"))

    def columns(self, queries, found):
        raise self.error

    def update(self, events):
        raise self.error

    def order(self, queries, found, k):
        raise self.error

    def write(self, queries, slate):
        raise self.error


QUERIES = Queries.of([0, 1])


def items(slate, b=0):
    return slate.item[slate.query == b].tolist()


def test_the_funnel_in_order():
    pipeline = Pipeline(
        {"a": Recall(Fixed((1, 2, 3))), "b": Recall(Fixed((3, 4)), 1)}, {"no": Never((2,))}, scorer=ByItem()
    )
    slate, trace = pipeline.recommend(QUERIES, 2)
    assert items(slate) == items(slate, 1) == [3, 1]
    assert [step.stage for step in trace.steps] == ["narrow", "recall", "recall", "merge", "filter", "rank", "rerank"]
    assert trace.drops == {"no": 2}
    assert (trace.level, trace.reasons, trace.short_by) == ("none", [], 0)
    merge = next(step for step in trace.steps if step.stage == "merge")
    assert (merge.rows_in, merge.rows_out) == (8, 6)
    assert all(step.seconds >= 0 for step in trace.steps)


def test_without_a_scorer_sources_are_fused_by_reciprocal_rank():
    slate, _ = Pipeline({"a": Recall(Fixed((1, 2, 3))), "b": Recall(Fixed((3, 9)))}).recommend(QUERIES, 3)
    assert items(slate) == [3, 1, 2]  # 1/61 + 1/63, 1/61, 1/62 = item 9's, the lower row first


def test_one_failing_source_is_skipped_and_counted():
    pipeline = Pipeline({"a": Recall(Fixed((), OSError("down"))), "b": Recall(Fixed((5, 6)))}, scorer=ByItem())
    slate, trace = pipeline.recommend(QUERIES, 2)
    assert items(slate) == [6, 5]
    assert trace.level == "partial"
    assert trace.reasons == ["recall a: OSError: down"]


def test_all_sources_failing_leaves_the_fallback_which_obeys_the_filters():
    pipeline = Pipeline({"a": Recall(Fixed((), OSError("down")))}, {"no": Never((7,))}, fallback=Fixed((7, 8, 9)))
    slate, trace = pipeline.recommend(QUERIES, 2)
    assert items(slate) == items(slate, 1) == [8, 9]
    assert slate.columns["fallback"].all()
    assert trace.level == "fallback"
    assert trace.filled == 4


def test_the_fallback_fills_only_the_missing_places_and_never_repeats():
    pipeline = Pipeline({"a": Recall(Fixed((1,)))}, scorer=ByItem(), fallback=Fixed((1, 2, 3)))
    slate, trace = pipeline.recommend(QUERIES, 3)
    assert items(slate) == [1, 2, 3]
    assert slate.columns["fallback"].tolist() == [False, True, True] * 2
    assert trace.short_by == 0


def test_short_by_counts_what_even_the_fallback_could_not_fill():
    _, trace = Pipeline({"a": Recall(Fixed((1,)))}, fallback=Fixed((1, 2))).recommend(QUERIES, 5)
    assert trace.short_by == 6


def test_a_failing_filter_fails_the_request_unless_optional():
    filters = {"promise": Never(error=OSError("no answer"))}
    with pytest.raises(FilterFailed, match="filter promise: OSError: no answer"):
        Pipeline({"a": Recall(Fixed((1, 2)))}, filters).recommend(QUERIES, 2)
    slate, trace = Pipeline({"a": Recall(Fixed((1, 2)))}, filters, optional=("promise",)).recommend(QUERIES, 2)
    assert items(slate) == [1, 2]
    assert trace.level == "partial"


def test_failing_feature_scorer_and_reranker_still_give_a_page():
    broken = Broken()
    pipeline = Pipeline(
        {"a": Recall(Fixed((4, 5)))}, features={"f": broken}, scorer=ByItem(OSError("x")), reranker=broken
    )
    slate, trace = pipeline.recommend(QUERIES, 1)
    assert items(slate) == [4]
    assert [step.stage for step in trace.errors] == ["feature", "rank", "rerank"]


def test_a_failing_sink_is_counted_and_nobodys_problem():
    pipeline = Pipeline({"a": Recall(Fixed((1,)))}, sinks={"log": Broken()})
    slate, _ = pipeline.recommend(QUERIES, 1)
    assert pipeline.tell(QUERIES, slate).errors[0].name == "log"


@pytest.mark.parametrize("error", [ShapeError("shape"), TypeError("type"), KeyError("column")])
def test_a_programmers_error_is_never_weather(error):
    with pytest.raises(type(error)):
        Pipeline({"a": Recall(Fixed((1,), error))}).recommend(QUERIES, 1)


def test_a_wrong_shape_from_a_scorer_is_raised():
    with pytest.raises(ShapeError, match=r"scorer ByItem returned \(3,\), expected \(4,\)"):
        Pipeline({"a": Recall(Fixed((1, 2)))}, scorer=ByItem(shape=(3,))).recommend(QUERIES, 1)


def test_late_filters_run_before_the_cut_so_that_places_are_refilled():
    pipeline = Pipeline({"a": Recall(Fixed((1, 2, 3)))}, scorer=ByItem(), late_filters={"late": Never((3,))})
    slate, trace = pipeline.recommend(QUERIES, 2)
    assert items(slate) == [2, 1]
    assert trace.drops == {"late": 2}


def test_effort_scales_what_sources_are_asked_for():
    _, trace = Pipeline({"a": Recall(Fixed(tuple(range(100))), 80)}).recommend(QUERIES, 5, effort=0.25)
    assert next(step for step in trace.steps if step.stage == "recall").rows_out == 40


def test_because_speaks_for_proposed_rows_only():
    pipeline = Pipeline({"a": Recall(Fixed((1, 2))), "b": Recall(Fixed((2,)))}, scorer=ByItem())
    slate, _ = pipeline.recommend(Queries.of([0]), 2)
    spoken, _ = pipeline.because(Queries.of([0]), slate)
    assert spoken["a"].tolist() == [102, 101]
    assert spoken["b"].tolist() == [102, -1]


def test_no_queries_no_rows():
    slate, trace = Pipeline({"a": Recall(Fixed((1,)))}, fallback=Fixed((1,))).recommend(Queries.of([]), 3)
    assert len(slate) == 0
    assert trace.level == "none"


def test_nan_scores_sink_in_the_slate():
    assert topk(np.zeros(3, np.int32), np.float32([np.nan, 1, 2]), 2, 1).tolist() == [2, 1]
