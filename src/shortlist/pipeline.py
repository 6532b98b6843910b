"""The one pipeline: a request, a nightly batch and an engine's partition all run `Pipeline.recommend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import inf
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np

from shortlist import ops
from shortlist.errors import ConfigError, ShapeError
from shortlist.protocols import Explainer, Feature, Filter, Reranker, Scorer, Sink, Source
from shortlist.types import Candidates, Column, Mask, Positions, Queries, Ragged, Rows, Scores

T = TypeVar("T")
SPARED = ("recall", "coarse", "feature", "rank", "rerank")  # stages that a page can do without, in a hurry
COARSE = "coarse.score"  # column of what the coarse ranker let through


class Step(NamedTuple):
    """What one stage did in one call."""

    stage: str  # narrow, recall, merge, filter, coarse, feature, rank, late, rerank, fallback, because
    name: str
    seconds: float
    rows_in: int
    rows_out: int
    error: str = ""  # class and message of what went wrong; empty = fine

    @property
    def label(self) -> str:
        return f"{self.stage} {self.name}".rstrip()


@dataclass(slots=True)
class Trace:
    """Every step of one call, in order: the metrics, the slow log and the explain page all read this."""

    steps: list[Step] = field(default_factory=list)
    short_by: int = 0  # places that stayed empty because the catalogue holds no more
    filled: int = 0  # places filled from the fallback
    until: float = inf  # perf_counter() from which on what the page can do without is skipped

    @property
    def errors(self) -> list[Step]:
        return [step for step in self.steps if step.error]

    @property
    def drops(self) -> dict[str, int]:
        """Rows removed, by the filter that removed them."""
        out: dict[str, int] = {}
        for step in self.steps:
            if step.stage in ("filter", "late") and not step.error:
                out[step.name] = out.get(step.name, 0) + step.rows_in - step.rows_out
        return out

    @property
    def level(self) -> str:
        """none | partial | fallback: how far the answer is from what was configured."""
        if self.filled:
            return "fallback"
        return "partial" if self.errors else "none"

    @property
    def reasons(self) -> list[str]:
        """Why the answer is degraded, one entry a cause."""
        out = [f"{step.label}: {step.error}" for step in self.errors]
        if self.filled:
            out.append(f"{self.filled} places filled from the fallback list")
        return out

    def run(
        self,
        stage: str,
        name: str,
        rows_in: int,
        work: Callable[[], T],
        size: Callable[[T], int],
        *,
        needed: bool = False,
    ) -> T | None:
        """Time one step. Weather becomes None and a counted error, and so does being late for a stage that can be
        spared, unless it is `needed`; a programmer's error is raised."""
        start = perf_counter()
        if start > self.until and stage in SPARED and not needed:
            self.steps.append(Step(stage, name, 0.0, rows_in, 0, "Late: skipped, the time for the answer was up"))
            return None
        try:
            result = work()
        except (ShapeError, ConfigError, TypeError, AttributeError, NameError, KeyError):
            raise
        except Exception as error:  # the failure table decides what a missing result means
            seconds = perf_counter() - start
            self.steps.append(Step(stage, name, seconds, rows_in, 0, f"{type(error).__name__}: {error}"))
            return None
        self.steps.append(Step(stage, name, perf_counter() - start, rows_in, size(result)))
        return result


class FilterFailed(Exception):
    """A filter that is a promise to someone could not be applied: the request must fail."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A source and how many rows a query it is asked for."""

    source: Source
    k: int = 100


@dataclass(frozen=True, slots=True)
class GivenLists:
    """A source for the queries of one call alone: a list for each of them, best first, whatever it asks."""

    lists: Ragged  # B lists of "item"

    def recall(self, queries: Queries, k: int) -> Candidates:
        query, item = self.lists.owner, self.lists["item"]
        allowed = ops.permitted(query, item, queries.exclude, queries.allowed)
        query, item = query[allowed], item[allowed]
        place = np.arange(len(item)) - ops.pointers(query, len(queries))[:-1][query]
        return Candidates(query, item, {"score": -place.astype(np.float32)}).take(place < k)


@dataclass(frozen=True, slots=True)
class Coarse:
    """A cheap first ranker: only the best `keep` candidates of a query go on to the features and the fine ranker.

    It sees the columns of the sources and of its own features. What goes on has its score as column `coarse.score`.
    """

    scorer: Scorer | None = None  # None: reciprocal-rank fusion
    keep: int = 100  # never fewer than the places that are asked for
    features: Mapping[str, Feature] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # sources whose candidates go on beside those: exploration, editors' choices

    def places(self, k: int, effort: float) -> int:
        """How many go on for their score when a page of `k` is asked for."""
        return max(k, int(self.keep * effort), 1)


@dataclass(frozen=True)
class Pipeline:
    """A funnel: recall, merge, filter, coarse rank, features, rank, rerank, fill. Mappings are applied in their order.

    | where | on exception | why |
    |---|---|---|
    | one source | skipped, counted | recall is redundant |
    | all sources | the fallback fills | a page is never empty |
    | feature | its columns are missing, counted | rankers accept NaN |
    | filter | `FilterFailed`, unless named in `optional` | a filter is a promise to someone |
    | coarse or fine scorer | reciprocal-rank fusion of the source scores, counted | the order is still sensible |
    | reranker | plain top-k, counted | |
    | explainer, sink | counted | never the caller's problem |
    | wrong shape, unknown column, bad configuration | raised, always | a programmer's error is never weather |
    """

    sources: Mapping[str, Recall]
    filters: Mapping[str, Filter] = field(default_factory=dict)
    features: Mapping[str, Feature] = field(default_factory=dict)  # of what the coarse ranker lets through
    scorer: Scorer | None = None  # None: reciprocal-rank fusion
    reranker: Reranker | None = None  # None: the k best
    late_filters: Mapping[str, Filter] = field(default_factory=dict)  # those that need a feature column
    optional: tuple[str, ...] = ()  # filters whose failure is counted instead of failing the request
    fallback: Source | None = None
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    limit: int = 20  # places on a page when the caller names no number
    coarse: Coarse | None = None  # None: everything goes on

    def recommend(
        self, queries: Queries, k: int, *, effort: float = 1.0, until: float = inf
    ) -> tuple[Candidates, Trace]:
        """At most k rows per query, best first, with every column that was computed on the way.

        Columns: one per source (NaN = not proposed by it), features, "score", "fallback" (true = not from the funnel).
        `effort` in (0, 1] scales every source's k and what the coarse ranker lets through. From `until` (perf_counter)
        on, what is left of recall, coarse rank, features, rank and rerank is skipped and counted like a failure.
        """
        trace = Trace(until=until)
        queries, found = self.candidates(queries, trace, effort, k)
        found = found.with_columns({"score": self._score(trace, queries, found)})
        found = self._filter(trace, "late", self.late_filters, queries, found)
        slate = found.take(self._order(trace, queries, found, k))
        return self._fill(trace, queries, slate, k), trace

    def candidates(self, queries: Queries, trace: Trace, effort: float = 1.0, k: int = 0) -> tuple[Queries, Candidates]:
        """The first half of `recommend`: the narrowed queries, and all that a ranker sees. Rankers learn on this."""
        queries = self._narrow(trace, queries)
        found = self._recall(trace, queries, effort)
        found = self._filter(trace, "filter", self.filters, queries, found)
        if self.coarse is not None:
            found = self._through(self.coarse, trace, queries, found, self.coarse.places(k, effort))
        return queries, self._features(trace, queries, found, self.features)

    @property
    def all_features(self) -> list[Feature]:
        """Those of the coarse ranker and those of the fine one: who is told what happens."""
        return [*(self.coarse.features.values() if self.coarse else ()), *self.features.values()]

    def because(self, queries: Queries, slate: Candidates) -> tuple[dict[str, Rows], Trace]:
        """For each source that can explain itself: (N,) the history item that spoke most for each row, -1 = none."""
        trace = Trace()
        spoken: dict[str, Rows] = {}
        for name, source in self._explainers.items():
            if name not in slate.columns:
                continue
            proposed = np.flatnonzero(~np.isnan(slate.columns[name]))
            rows = slate.take(proposed)
            why = trace.run("because", name, len(rows), partial(source.because, queries, rows), len)
            if why is not None:
                spoken[name] = np.full(len(slate), -1, np.int32)
                spoken[name][proposed] = why
        return spoken, trace

    @cached_property
    def _explainers(self) -> dict[str, Explainer]:
        return {name: recall.source for name, recall in self.sources.items() if isinstance(recall.source, Explainer)}

    def tell(self, queries: Queries, slate: Candidates) -> Trace:
        """Give what was shown to every sink; call it after the reply has left."""
        trace = Trace()
        for name, sink in self.sinks.items():
            trace.run("sink", name, len(slate), partial(sink.write, queries, slate), lambda _: len(slate))
        return trace

    def _narrow(self, trace: Trace, queries: Queries) -> Queries:
        for name, each in {**self.filters, **self.late_filters}.items():
            narrowed = trace.run("narrow", name, len(queries), partial(each.narrow, queries), len)
            if narrowed is not None:
                queries = narrowed
            elif name not in self.optional:
                raise FilterFailed(f"filter {name}: {trace.steps[-1].error}")
        return queries

    def _recall(self, trace: Trace, queries: Queries, effort: float) -> Candidates:
        parts: dict[str, Candidates] = {}
        for name, recall in self.sources.items():
            k = max(1, int(recall.k * effort))
            part = trace.run("recall", name, len(queries), partial(recall.source.recall, queries, k), len)
            if part is not None:
                parts[name] = part
        total = sum(len(part) for part in parts.values())
        merged = trace.run("merge", "", total, lambda: ops.merge(parts, len(queries)), len)
        assert merged is not None, trace.steps[-1].error
        return merged

    def _filter(
        self, trace: Trace, stage: str, filters: Mapping[str, Filter], queries: Queries, found: Candidates
    ) -> Candidates:
        for name, each in filters.items():
            kept = trace.run(stage, name, len(found), partial(_kept, name, each, queries, found), np.count_nonzero)
            if kept is not None:
                found = found if kept.all() else found.take(kept)
            elif name not in self.optional:
                raise FilterFailed(f"filter {name}: {trace.steps[-1].error}")
        return found

    def _through(self, coarse: Coarse, trace: Trace, queries: Queries, found: Candidates, keep: int) -> Candidates:
        """The best `keep` of each query by the coarse ranker, and what `always` goes on, in the order they had."""
        own = {f"coarse.{name}": each for name, each in coarse.features.items()}
        found = self._features(trace, queries, found, own)
        sure = np.zeros(len(found), np.bool_)
        for name in coarse.always:
            if name in found.columns:
                sure |= ~np.isnan(found.columns[name])

        def best(score: Scores) -> Candidates:
            kept = sure.copy()
            kept[ops.topk(found.query, score, keep, len(queries))] = True
            return found.with_columns({COARSE: score}).take(kept)

        scorer, left = coarse.scorer, None
        if scorer is not None:
            name = type(scorer).__name__
            left = trace.run(
                "coarse", name, len(found), lambda: best(_column(name, scorer.score(queries, found), found)), len
            )
        if left is None:
            left = trace.run(
                "coarse", "reciprocal rank", len(found), lambda: best(self._fuse(queries, found)), len, needed=True
            )
        assert left is not None, trace.steps[-1].error
        return left

    def _features(
        self, trace: Trace, queries: Queries, found: Candidates, features: Mapping[str, Feature]
    ) -> Candidates:
        for name, each in features.items():
            size = len(found)
            columns = trace.run("feature", name, size, partial(each.columns, queries, found), lambda _: size)
            if columns is not None:
                found = found.with_columns(columns)
        return found

    def _score(self, trace: Trace, queries: Queries, found: Candidates) -> Scores:
        scorer = self.scorer
        if scorer is not None:
            name = type(scorer).__name__
            score = trace.run("rank", name, len(found), lambda: _column(name, scorer.score(queries, found), found), len)
            if score is not None:
                return score
        fused = trace.run("rank", "reciprocal rank", len(found), lambda: self._fuse(queries, found), len, needed=True)
        assert fused is not None, trace.steps[-1].error
        return fused

    def _fuse(self, queries: Queries, found: Candidates) -> Scores:
        votes = [name for name in self.sources if name in found.columns and "." not in name]  # given lists have none
        proposed = {name: found.columns[name] for name in votes}
        return ops.reciprocal_rank(found.query, proposed, len(queries))

    def _order(self, trace: Trace, queries: Queries, found: Candidates, k: int) -> Positions:
        reranker = self.reranker
        if reranker is not None:
            name = type(reranker).__name__
            order = trace.run("rerank", name, len(found), lambda: reranker.order(queries, found, k), len)
            if order is not None:
                return order
        score = found.columns["score"]
        size = len(queries)
        plain = trace.run(
            "rerank", "top-k", len(found), lambda: ops.topk(found.query, score, k, size), len, needed=True
        )
        assert plain is not None, trace.steps[-1].error
        return plain

    def _fill(self, trace: Trace, queries: Queries, slate: Candidates, k: int) -> Candidates:
        """Fill missing places from the fallback; hard filters hold for it too."""
        slate = slate.with_columns({"fallback": np.zeros(len(slate), np.bool_)})
        missing = k - np.bincount(slate.query, minlength=len(queries))
        fallback = self.fallback
        needy = np.flatnonzero(missing > 0)
        if fallback is not None and len(needy):
            asked = queries.take(needy)
            extra = trace.run(
                "fallback", type(fallback).__name__, len(slate), lambda: fallback.recall(asked, 2 * k), len
            )
            if extra is not None:
                local = self._filter(trace, "filter", {**self.filters, **self.late_filters}, asked, extra)
                local = Candidates(needy[local.query].astype(np.int32), local.item, {"score": local.columns["score"]})
                taken = (slate.query.astype(np.int64) << 32) | slate.item
                local = local.take(~np.isin((local.query.astype(np.int64) << 32) | local.item, taken))
                start = ops.pointers(local.query, len(queries))[:-1]
                local = local.take(np.arange(len(local)) - start[local.query] < missing[local.query])
                score = np.full(len(local), np.nan, np.float32)
                local = local.with_columns({"score": score, "fallback": np.ones(len(local), np.bool_)})
                trace.filled = len(local)
                slate = Candidates.concat([slate, local])
                missing = k - np.bincount(slate.query, minlength=len(queries))
        trace.short_by = int(missing.sum())
        return slate


def _kept(name: str, filter: Filter, queries: Queries, found: Candidates) -> Mask:
    mask = filter.keep(queries, found)
    if mask.dtype != np.bool_ or mask.shape != (len(found),):
        raise ShapeError(f"filter {name} returned {mask.dtype} {mask.shape}, expected bool ({len(found)},)")
    return mask


def _column(name: str, score: Column, found: Candidates) -> Scores:
    if score.shape != (len(found),):
        raise ShapeError(f"scorer {name} returned {score.shape}, expected ({len(found)},)")
    with np.errstate(over="ignore"):
        score = score.astype(np.float32, copy=False)
    infinite = np.isinf(score)
    return np.where(infinite, np.float32(np.nan), score) if infinite.any() else score  # an overflow is no opinion
