"""Why an item is on a page, or where it was lost: the one pipeline run again, with a witness beside its stages.

The item that is asked about passes every filter of this run, so that of a filtered item, too, is known where it would
stand. Nothing here is on the path of an answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from shortlist import ops
from shortlist.pipeline import Pipeline, Step, Trace
from shortlist.protocols import Accountable, Additive, Explainer, Filter, Reasoned, Reranker, Scorer, Source, Telling
from shortlist.rank.fuse import ReciprocalRank
from shortlist.rerank.chain import Chain
from shortlist.rerank.topn import TopN
from shortlist.types import Candidates, Columns, Mask, Positions, Queries, Reason, empty_items

LIKINGS = 100  # items of a history that are left out in turn, the newest
NOISE = 1e-5  # of a score: less than this is rounding
PAGE = 1e-3  # of a score: parts that a page alone gives may be that far from it
_NUMBERED = re.compile(r"\[[0-9]+\]$")


@dataclass(frozen=True, slots=True)
class Refused:
    """A rule that keeps the item from this person: of the request, of a filter, of a late filter."""

    stage: str  # request | filter | late; of what cost an item its place also recall | coarse | rank | rerank
    name: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one source says of the item."""

    name: str
    k: int  # rows it was asked for
    rank: int  # the least number of rows to ask it for so that the item is among them; 0 = it cannot propose the item
    score: float  # NaN = no opinion
    least: float  # of the last row that it proposed; NaN = none
    because: int  # the item of the history that spoke most, -1 = none
    parts: tuple[tuple[int, float], ...]  # history items and how far the score falls without each, greatest first
    error: str = ""  # what went wrong when it was asked

    @property
    def proposed(self) -> bool:
        return 0 < self.rank <= self.k


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the coarse ranker put the item among all candidates."""

    name: str  # of the scorer
    place: int  # by score, from 1
    of: int
    score: float
    kept: int  # rows that went on for their score
    last: float  # score of the last of them
    passed: bool  # the item went on, for its score or because a source sends on whatever it proposes


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where the scorer put the item among the candidates."""

    place: int  # by score, from 1
    of: int
    score: float
    parts: tuple[tuple[str, float, float, Reason], ...]  # name, value, weight (products add up to the score), in words
    last: float  # score of the last row that was shown
    enough: int  # places that a page needs for the item to be on it; 0 = it is on no page


@dataclass(frozen=True, slots=True)
class Moved:
    """What one rule of the reranker did to the item. Places count from 1; 0 = not on the page."""

    name: str
    before: int
    after: int
    without: int  # on the finished page, had this rule not been there
    never: bool  # the rule leaves it out of a page of any length
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that happened to one item in one answer."""

    place: int  # on the page of this run, from 1; 0 = not on it
    places: int  # that the page has
    fallback: bool  # on the page, but not from the funnel
    refused: tuple[Refused, ...]  # when there are any it is not shown, and all else says what would be without them
    proposals: tuple[Proposal, ...]
    coarse: Cut | None  # None = no candidate, or there is no coarse ranker
    ranked: Ranked | None  # None = no candidate of the fine ranker
    moved: tuple[Moved, ...]
    slate: Candidates  # the page of this run
    trace: Trace

    @property
    def shown(self) -> bool:
        return bool(self.place) and not self.refused

    @property
    def lost(self) -> Refused | None:
        """The first stage and rule that cost the item its place; None = it is shown."""
        if self.refused or self.place:
            return self.refused[0] if self.refused else None
        if self.coarse is not None and not self.coarse.passed:
            facts = {name: getattr(self.coarse, name) for name in ("place", "of", "score", "kept", "last")}
            text = "place {place} of {of} with a score of {score}; {kept} went on, the last of them with {last}"
            return Refused("coarse", self.coarse.name, Reason(text, facts))
        if self.ranked is None:
            return self._unproposed()
        for move in self.moved:
            if move.never or (move.before <= self.places and not move.after):
                return Refused("rerank", move.name, move.reason or Reason("moved down by {rule}", {"rule": move.name}))
        facts = {name: getattr(self.ranked, name) for name in ("place", "of", "score", "last", "enough")}
        text = (
            "place {place} of {of} with a score of {score}; the last of {places} shown has {last},"
            " and a page of {enough} would show it"
        )
        return Refused("rank", "", Reason(text, {**facts, "places": self.places}))

    def _unproposed(self) -> Refused:
        near = [each for each in self.proposals if each.rank]
        if not near:
            return Refused("recall", "", Reason("no source can propose it"))
        best = min(near, key=lambda each: each.rank / each.k)
        text = "no source proposed it; the nearest was {source}, asked for {k}, which has it at rank {rank}"
        return Refused("recall", best.name, Reason(text, {"source": best.name, "rank": best.rank, "k": best.k}))


def explain(
    pipeline: Pipeline,
    queries: Queries,
    item: int,
    k: int,
    *,
    items: int,
    effort: float = 1.0,
    condition: Reasoned | None = None,
    likings: int = 3,
) -> Account:
    """What `pipeline` does with catalog row `item` when it answers `queries`, which is one query, with k places.

    `items` is the size of the catalog; `condition` says why `queries.allowed` may not hold the item; `likings` is how
    many parts of the history are named for each source. Raises what `Pipeline.recommend` raises.
    """
    witness = _Witness(pipeline.reranker or TopN())
    open_ = replace(
        pipeline,
        filters={name: _Lifted(each, item) for name, each in pipeline.filters.items()},
        late_filters={"": witness, **{name: _Lifted(each, item) for name, each in pipeline.late_filters.items()}},
        reranker=witness,
    )
    slate, trace = open_.recommend(_permitting(queries, item), k, effort=effort)
    broken = {(step.stage, step.name): step.error for step in trace.errors}
    working = less_filters(pipeline, trace.errors)
    row = witness.row(item)
    asked = Candidates(np.zeros(1, np.int32), np.array([item], np.int32)) if row is None else witness.scored.take(row)
    refused = tuple(refusals(working, queries, asked, late=row is not None, condition=condition)[0])
    sources = {name: (recall.source, max(1, int(recall.k * effort))) for name, recall in pipeline.sources.items()}
    if trace.filled and pipeline.fallback is not None:
        sources["fallback"] = (pipeline.fallback, 2 * k)
    proposals = [
        _proposal(name, source, witness.queries, item, asked_for, items, likings, broken.get(("recall", name), ""))
        for name, (source, asked_for) in sources.items()
    ]
    on_page = np.flatnonzero(slate.item == item)
    ranked: Ranked | None = None
    moved: tuple[Moved, ...] = ()
    if row is not None:
        plain = pipeline.reranker is None or any(stage == "rerank" for stage, _ in broken)
        rules = () if plain else _rules(witness.reranker)
        scorer = None if any(stage == "rank" for stage, _ in broken) else pipeline.scorer
        ranked = _ranked(pipeline, scorer or ReciprocalRank(), witness, item, rules, slate)
        moved = tuple(_moves(witness, item, rules, k))
    return Account(
        int(on_page[0]) + 1 if len(on_page) else 0,
        k,
        bool(len(on_page) and slate.columns["fallback"][on_page[0]]),
        refused,
        tuple(proposals),
        _cut(open_, _permitting(queries, item), item, k, effort, trace, row is not None),
        ranked,
        moved,
        slate,
        trace,
    )


def refusals(
    pipeline: Pipeline, queries: Queries, found: Candidates, *, late: bool = False, condition: Reasoned | None = None
) -> list[list[Refused]]:
    """For each row of `found` (N,) what takes it out, in order: the request, then the filters. `queries` is one query.

    `late` says whether `found` has the feature columns that late filters look at; without them, what those say
    beforehand is all that counts.
    """
    told: list[list[Refused]] = [[] for _ in range(len(found))]

    def refuse(out: Mask, stage: str, name: str, reasons: Callable[[Candidates], Sequence[Reason]]) -> None:
        for row, reason in zip(np.flatnonzero(out).tolist(), reasons(found.take(out)), strict=True):
            told[row].append(Refused(stage, name, reason))

    seen = np.isin(found.item, queries.context["item"])
    refuse(seen, "request", "context", _always(Reason("in view already")))
    left_out = np.isin(found.item, queries.exclude["item"]) & ~seen
    refuse(left_out, "request", "exclude", _always(Reason("the request leaves it out")))
    denied = ~ops.gather(queries.allowed, found.item, True) if len(queries.allowed) else np.zeros(len(found), np.bool_)
    denial = partial(condition.reasons, queries) if condition else _always(Reason("not allowed"))
    refuse(denied, "request", "allowed", denial)

    free = replace(queries, exclude=empty_items(1), allowed=np.empty(0, np.bool_))
    both = (("filter", pipeline.filters), ("late", pipeline.late_filters))
    for stage, name, each in ((stage, name, each) for stage, filters in both for name, each in filters.items()):
        narrowed = each.narrow(free)
        kept = ops.permitted(found.query, found.item, narrowed.exclude, narrowed.allowed)
        if stage == "filter" or late:
            kept &= each.keep(queries, found)
        plain = _always(Reason("taken out by {filter}", {"filter": name}))
        refuse(~kept, stage, name, partial(each.reasons, queries) if isinstance(each, Reasoned) else plain)
    return told


def _always(reason: Reason) -> Callable[[Candidates], Sequence[Reason]]:
    return lambda found: [reason] * len(found)


@dataclass
class _Witness:
    """Stands among the late filters and in the place of the reranker, changes nothing, and remembers what it saw."""

    reranker: Reranker
    queries: Queries = field(default_factory=lambda: Queries.of([-1]))  # narrowed
    scored: Candidates = field(default_factory=Candidates.empty)  # what the scorer saw, and its scores
    found: Candidates = field(default_factory=Candidates.empty)  # what the reranker saw
    _last: Candidates = field(default_factory=Candidates.empty)

    def narrow(self, queries: Queries) -> Queries:
        return queries

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        self._last = found
        return np.ones(len(found), np.bool_)

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions:
        self.queries, self.found, self.scored = queries, found, self._last  # the fallback is filtered after this
        return self.reranker.order(queries, found, k)

    def row(self, item: int) -> Positions | None:
        """The position of `item` among what was scored, None when it was no candidate."""
        row = np.flatnonzero(self.scored.item == item)
        return row if len(row) else None


@dataclass(frozen=True, slots=True)
class _Lifted:
    """A filter that lets one item through."""

    filter: Filter
    item: int

    def narrow(self, queries: Queries) -> Queries:
        return _permitting(self.filter.narrow(queries), self.item)

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        kept: Mask = self.filter.keep(queries, found) | (found.item == self.item)
        return kept


def less_filters(pipeline: Pipeline, errors: Sequence[Step]) -> Pipeline:
    """The pipeline without the filters that could not be applied, which an answer has counted and passed over."""
    broken = {step.name for step in errors if step.stage in ("narrow", "filter", "late")}
    return replace(
        pipeline,
        filters={name: each for name, each in pipeline.filters.items() if name not in broken},
        late_filters={name: each for name, each in pipeline.late_filters.items() if name not in broken},
    )


def _permitting(queries: Queries, item: int) -> Queries:
    allowed = queries.allowed
    if item < len(allowed) and not allowed[item]:
        allowed = allowed.copy()
        allowed[item] = True
    return replace(queries, exclude=queries.exclude.where(queries.exclude["item"] != item), allowed=allowed)


def _proposal(
    name: str, source: Source, queries: Queries, item: int, k: int, items: int, likings: int, error: str
) -> Proposal:
    if error:
        return Proposal(name, k, 0, np.nan, np.nan, -1, (), error)
    found = source.recall(queries, max(items, k))  # all that it could propose
    score, at = found.columns["score"], np.flatnonzero(found.item == item)
    least = float(score[min(k, len(found)) - 1]) if len(found) else np.nan
    asked = Candidates(np.zeros(1, np.int32), np.array([item], np.int32))
    scorer = source if isinstance(source, Scorer) else None
    opinion = float(score[at[0]]) if len(at) else np.nan
    if scorer is not None and not len(at):
        opinion = float(scorer.score(queries, asked)[0])
    history = queries.history
    others = replace(queries, history=history.where(history["item"] != item))  # it is no reason for itself
    because = -1
    if isinstance(source, Explainer) and not np.isnan(opinion):
        because = int(source.because(others, asked)[0])
    parts = () if scorer is None or np.isnan(opinion) else _spoken(scorer, others, item, likings, because)
    rank = 0
    if len(at):  # a source may leave out rows that it has counted, so the place in the list is only where to begin
        rank = _least(lambda k: item in source.recall(queries, k).item, int(at[0]), max(items, k))
    return Proposal(name, k, rank, opinion, least, because, parts)


def _spoken(source: Scorer, queries: Queries, item: int, count: int, named: int) -> tuple[tuple[int, float], ...]:
    """The `count` items of the history without which the score falls furthest, `named` among them, and how far."""
    history = queries.history
    liked = np.append(history["item"][history["weight"] > 0], np.int32(named))[::-1]
    liked = liked[np.sort(np.unique(liked, return_index=True)[1])][: LIKINGS + 1]  # newest first
    liked = liked[liked >= 0]
    if not count or not len(liked):
        return ()
    asked = queries.take(np.zeros(len(liked) + 1, np.intp))
    lists = asked.history
    silent = lists["item"] == np.append(np.int32(-1), liked)[lists.owner]  # the first list says everything
    weight = np.where(silent, np.float32(0), lists["weight"])
    asked = replace(asked, history=replace(lists, columns={**lists.columns, "weight": weight}))
    rows = Candidates(np.arange(len(asked), dtype=np.int32), np.full(len(asked), item, np.int32))
    score = np.nan_to_num(source.score(asked, rows))
    fall = score[0] - score[1:]
    best = [at for at in np.argsort(-fall, kind="stable") if fall[at] > NOISE * abs(score[0])]
    told = [at for place, at in enumerate(best) if place < count or liked[at] == named]
    return tuple((int(liked[at]), float(fall[at])) for at in told)


def _rules(reranker: Reranker) -> tuple[Reranker, ...]:
    return reranker.steps if isinstance(reranker, Chain) else (reranker,)


def _together(rules: tuple[Reranker, ...]) -> Reranker:
    return Chain(rules) if rules else TopN()


def worded(pipeline: Pipeline, part: str, columns: Columns, row: int) -> Reason:
    """What a part of a score is about, by the words of the feature (or source) whose column it is of.

    `part` is the name of a column, of one of its numbers ("vector[3]"), of its gaps ("price missing"), of how high a
    source puts a row ("als, high"), of a goal, or "base". `columns` (N, ...) are what the scorer saw.
    """
    name = _column(part)
    if part == "base":
        return Reason("what every candidate begins with")
    if name in pipeline.sources:
        score = columns.get(name)
        found = score is not None and not np.isnan(score[row])
        text = "found by {source}" if found else "not found by {source}"
        return Reason("among the best of {source}" if part != name else text, {"source": name})
    said = _said(pipeline, part, columns, row)
    return said[1] if said else Reason(name if name in columns else f"how likely {name} is")


def reasons(pipeline: Pipeline, queries: Queries, slate: Candidates, most: int = 3) -> list[list[tuple[str, Reason]]]:
    """For each row of `slate` (N,) what features gave its score most, at most `most` of them: names of features, and
    words. None unless the parts add up to the score that the row has: of scores that compare candidates, a page is not
    enough to tell."""
    told: list[list[tuple[str, Reason]]] = [[] for _ in range(len(slate))]
    scorer: Scorer = pipeline.scorer or ReciprocalRank()
    if not isinstance(scorer, Additive):
        return told
    parts = scorer.parts(queries, slate)
    given = np.stack([part.value * part.weight for part in parts], axis=1)  # (N, P)
    exact = np.isclose(given.sum(axis=1), slate.columns["score"], rtol=PAGE, atol=PAGE)
    for row in np.flatnonzero(exact).tolist():
        for at in np.argsort(-given[row], kind="stable").tolist():
            if given[row, at] <= NOISE or len(told[row]) == most:
                break
            said = _said(pipeline, parts[at].name, slate.columns, row)
            told[row] += [said] if said else []
    return told


def _column(part: str) -> str:
    """The column that a part of a score is of."""
    return _NUMBERED.sub("", part.removesuffix(", high").removesuffix(" missing"))


def _said(pipeline: Pipeline, part: str, columns: Columns, row: int) -> tuple[str, Reason] | None:
    """The feature that a part of a score is of, and what it says; None when no feature says anything."""
    name = _column(part)
    if name not in columns or name in pipeline.sources:
        return None
    for feature, each in pipeline.features.items():
        told = each.words(name, columns[name][row]) if isinstance(each, Telling) else None
        if told is not None:
            return feature, told
    return None


def _ranked(
    pipeline: Pipeline,
    scorer: Scorer,
    witness: _Witness,
    item: int,
    rules: tuple[Reranker, ...],
    slate: Candidates,
) -> Ranked:
    found, queries = witness.found, witness.queries
    row, whole = int(np.flatnonzero(found.item == item)[0]), _together(rules)
    score = found.columns["score"]
    shown = slate.columns["score"][~slate.columns["fallback"]]
    parts: list[tuple[str, float, float, Reason]] = []
    if isinstance(scorer, Additive):
        at = int(np.flatnonzero(witness.scored.item == item)[0])
        for part in scorer.parts(queries, witness.scored):
            told = worded(pipeline, part.name, witness.scored.columns, at)
            parts.append((part.name, float(part.value[at]), float(part.weight[at]), told))
    enough = _least(lambda places: row in whole.order(queries, found, places), 0, len(found))
    last = float(shown[-1]) if len(shown) else np.nan
    return Ranked(_place(found, row), len(found), float(score[row]), tuple(parts), last, enough)


def _cut(
    pipeline: Pipeline, queries: Queries, item: int, k: int, effort: float, trace: Trace, passed: bool
) -> Cut | None:
    """What the coarse ranker of `pipeline` says, of which `trace` knows whether it failed."""
    coarse = pipeline.coarse
    if coarse is None:
        return None
    before = replace(pipeline, coarse=None, features=coarse.features)
    queries, found = before.candidates(queries, Trace(), effort)
    row = np.flatnonzero(found.item == item)
    if not len(row):
        return None
    failed = any(step.stage == "coarse" for step in trace.errors)
    scorer = ReciprocalRank() if coarse.scorer is None or failed else coarse.scorer
    score = scorer.score(queries, found)
    order = ops.topk(found.query, score, len(found), 1)
    kept = min(coarse.places(k, effort), len(found))
    place, last = _where(order, int(row[0])), float(score[order[kept - 1]])
    return Cut(type(scorer).__name__, place, len(found), float(score[row[0]]), kept, last, passed)


def _moves(witness: _Witness, item: int, rules: tuple[Reranker, ...], k: int) -> list[Moved]:
    queries, found = witness.queries, witness.found
    row = int(np.flatnonzero(found.item == item)[0])
    told: list[Moved] = []
    if not rules:
        return told
    for at, (rule, given) in enumerate(Chain(rules).walk(queries, found, k)):
        left = _together(rules[:at] + rules[at + 1 :])
        told.append(
            Moved(
                type(rule).__name__.removesuffix("Model"),
                _place(given, row),
                _where(rule.order(queries, given, k), row),
                _where(left.order(queries, found, k), row),
                not _where(rule.order(queries, given, len(given)), row),
                rule.moved(queries, given, k, row) if isinstance(rule, Accountable) else None,
            )
        )
    return told


def _place(found: Candidates, row: int) -> int:
    return _where(ops.topk(found.query, found.columns["score"], len(found), 1), row)


def _where(order: Positions, row: int) -> int:
    at = np.flatnonzero(order == row)
    return int(at[0]) + 1 if len(at) else 0


def _least(true: Callable[[int], bool], low: int, most: int) -> int:
    """The least number above `low`, up to `most`, for which `true` begins to hold; 0 when it does not hold for `most`.

    The first that is tried is low + 1.
    """
    if true(low + 1):
        return low + 1
    if not true(most):
        return 0
    low, high = low + 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if true(middle) else (middle, high)
    return high
