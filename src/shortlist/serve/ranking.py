"""Candidates that the caller names, ordered by the pipeline: its filters, features and scorer, its rules if wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from shortlist import why
from shortlist.pipeline import Pipeline, Recall
from shortlist.rank.fuse import ReciprocalRank
from shortlist.recall.given import Given
from shortlist.serve import wire
from shortlist.serve.endpoint import Endpoint
from shortlist.serve.service import Service
from shortlist.serve.why import Condition, Words
from shortlist.types import Candidates, Reason, Rows

CHOSEN = "given.here"  # the source that proposes them all: a name with a dot, so that it has no vote


class RankRequest(wire.Question, kw_only=True):
    """The question of a list, and the items that may be on it."""

    items: Annotated[list[wire.Id], Meta(min_length=1, max_length=1000)]
    rerank: Annotated[bool, Meta(description="also apply the rules of the reranker")] = False


class Placed(Struct):
    """A candidate in its place. score null: nothing that is known speaks for or against it."""

    id: str
    rank: int
    score: float | None
    scores: dict[str, float]  # what each source says of it


class Removed(Struct):
    """A candidate without a place, and why."""

    id: str
    stage: str  # catalog | request | filter | late | rank | rerank
    name: str
    text: str
    facts: dict[str, wire.Field]


class Ranking(Struct):
    """Every candidate once: in a place, or removed."""

    request_id: str
    user_id: str | None
    scenario: str
    items: list[Placed]
    removed: list[Removed]
    versions: wire.Versions
    notes: list[str]


def rank(service: Service, ask: RankRequest, request_id: str) -> Ranking:
    """The places of the candidates. Scores compare candidates of one request, not of two."""
    ids = [wire.identifier(id, f"/items/{at}") for at, id in enumerate(ask.items)]
    queries, serving = service.question(ask, request_id), service.runtime.release
    rows = service.catalog.rows("item", ids)
    removed: dict[int, Removed] = {}
    first: dict[int, int] = {}
    for at, (id, row) in enumerate(zip(ids, rows.tolist(), strict=True)):
        if row < 0:
            removed[at] = Removed(id, "catalog", "", "there is no such item", {})
        elif first.setdefault(row, at) != at:
            removed[at] = Removed(id, "request", "items", f"it is given at position {first[row]}, too", {})
    chosen = np.array([*first], np.int32)
    pipeline = serving.pipelines[ask.scenario]
    among = _among(pipeline, chosen, rerank=ask.rerank)
    only = np.zeros(service.catalog.size("item"), np.bool_)
    only[chosen] = True
    asked = queries.with_allowed(only)
    slate, trace = among.recommend(asked, len(chosen))
    slate = slate.take(np.isin(slate.item, chosen))  # an item may have come meanwhile

    words = Words(service, queries)
    places = {row: place for place, row in enumerate(slate.item.tolist(), 1)}
    absent = np.array([row for row in first if row not in places], np.int32)
    condition = Condition(service.catalog, ask.filter)
    rule = why.Refused("rerank", type(among.reranker).__name__, Reason("a rule has no place for it"))
    refused = dict(
        zip(absent.tolist(), why.refusals(pipeline, queries, _bare(absent), condition=condition), strict=True)
    )
    if pipeline.late_filters and len(absent):  # they look at columns, which only candidates have
        scored, _ = replace(among, late_filters={}, reranker=None).recommend(asked, len(chosen))
        scored = scored.take(np.isin(scored.item, absent))
        late = why.refusals(pipeline, queries, scored, late=True, condition=condition)
        refused.update(zip(scored.item.tolist(), late, strict=True))
    for row, told in refused.items():
        each, at = told[0] if told else rule, first[row]
        removed[at] = Removed(ids[at], each.stage, each.name, *words.say(each.reason))
    last = ask.n or len(places)
    for row, place in places.items():
        if place > last:
            at = first[row]
            text = f"place {place} of {len(places)}; {last} were asked for"
            removed[at] = Removed(ids[at], "rank", "", text, {"place": place, "of": len(places)})
    return Ranking(
        request_id,
        None if ask.user_id is None else str(ask.user_id),
        ask.scenario,
        _placed([ids[first[row]] for row in slate.item.tolist()], slate, among)[:last],
        [removed[at] for at in sorted(removed)],
        wire.versions(serving, service.runtime.clock()),
        trace.reasons,
    )


def _among(pipeline: Pipeline, chosen: Rows, *, rerank: bool) -> Pipeline:
    """The pipeline asked for all that it can say of `chosen`, which it is given whether a source proposes it or not."""
    everything = Given(chosen, -np.arange(len(chosen), dtype=np.float32))
    sources = {name: replace(each, k=len(chosen)) for name, each in pipeline.sources.items()}
    return replace(
        pipeline,
        sources={**sources, CHOSEN: Recall(everything, len(chosen))},
        scorer=pipeline.scorer or ReciprocalRank(),
        reranker=pipeline.reranker if rerank else None,
        fallback=None,
        sinks={},
    )


def _bare(rows: Rows) -> Candidates:
    return Candidates(np.zeros(len(rows), np.int32), rows)


def _placed(ids: list[str], slate: Candidates, pipeline: Pipeline) -> list[Placed]:
    said = {name: slate.columns[name] for name in pipeline.sources if name != CHOSEN and name in slate.columns}
    return [
        Placed(
            id,
            at + 1,
            wire.finite(slate.columns["score"][at]),
            {name: float(column[at]) for name, column in said.items() if not np.isnan(column[at])},
        )
        for at, id in enumerate(ids)
    ]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/v1/rank",
        "Order up to 1,000 given items for a person; each gets a place or the reason why not",
        lambda service, call: (200, rank(service, call.body, call.request_id)),
        Ranking,
        RankRequest,
        example={"user_id": "42", "items": ["7", "50", "181"]},
        scope="read",
        about=lambda call: [call.body.user_id],
    ),
)
