"""Why, and why not: what happened to one item in one answer, now or as things stood, in words and as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct, structs

from shortlist import why
from shortlist.filters.attribute import Attribute
from shortlist.pipeline import Coarse, Pipeline, Step
from shortlist.protocols import Catalog
from shortlist.rungs import STALE
from shortlist.serve import sentences, wire
from shortlist.serve.endpoint import Endpoint
from shortlist.serve.lists import FILLED, WORDS
from shortlist.serve.problems import Refusal
from shortlist.serve.remembered import Remembered
from shortlist.serve.service import Service
from shortlist.types import Candidates, Queries, Reason


class ExplainRequest(wire.Question, kw_only=True):
    """The question of a list, and the item that is asked about."""

    item_id: wire.Id
    request_id: Annotated[
        str, Meta(max_length=128, description="of an answer to this user_id: explain that one, as things stood")
    ] = ""


class Said(Struct):
    """A reason in words, and the numbers in it."""

    text: str
    facts: dict[str, wire.Field]


class Rule(Said):
    """A rule of the request or a filter, and whether it lets the item through."""

    stage: str  # request | filter | late
    name: str
    passed: bool


class Liking(Struct):
    """An item of the person's history, and how far the source's score falls without it."""

    item_id: str
    title: str | None
    part: float | None


class Origin(Struct):
    """What one source says. `rank` counts all that it could propose; null: it cannot propose the item."""

    name: str
    proposed: bool
    asked_for: int
    rank: int | None
    score: float | None
    last_score: float | None  # of the last item that it proposed
    because: list[Liking]
    text: str


class ScorePart(Struct):
    """One addend of the score: value · weight."""

    name: str
    value: float
    weight: float
    part: float
    text: str  # what it is about


class Cut(Struct):
    """Where the coarse ranker put the item among all candidates, and whether it went on to the fine one."""

    name: str
    passed: bool
    place: int
    of: int
    score: float | None
    kept: int  # candidates that went on for their score
    last_kept: float | None  # score of the last of them
    text: str


class Place(Struct):
    """Where the scorer put the item, and the parts that add up to its score."""

    place: int
    of: int
    score: float | None
    last_shown: float | None
    enough: int | None  # places that a page needs for the item to be on it; null: it is on no page
    parts: list[ScorePart]
    text: str


class Move(Said):
    """What a rule of the reranker did. null: not on the page."""

    name: str
    before: int
    after: int | None
    without: int | None  # place on the finished page, had this rule not been there


class Lost(Said):
    """The first stage and rule that cost the item its place."""

    stage: str  # catalog | request | filter | recall | coarse | late | rank | rerank
    name: str


class Explanation(Struct, kw_only=True):
    """Everything that happened to one item in one answer, stage by stage."""

    request_id: str
    user_id: str | None
    item_id: str
    title: str | None = None
    scenario: str
    time: datetime  # of the answer
    text: str = ""
    shown: bool = False
    place: int | None = None
    places: int
    lost: Lost | None = None
    otherwise: str | None = None  # when a rule or filter took it out: what would have become of it
    rules: list[Rule] = []
    sources: list[Origin] = []
    coarse: Cut | None = None
    rank: Place | None = None
    moves: list[Move] = []
    versions: wire.Versions
    notes: list[str]


class Then(Struct):
    """One answer of the past, as it was given, with every stage and every score."""

    request_id: str
    time: datetime
    question: wire.Question
    effort: float
    answer: wire.Recommendation
    columns: dict[str, list[float | None]]  # by item of the answer: what sources said, features
    replayable: bool
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer that is explained."""

    queries: Queries  # one
    slate: Candidates
    places: int
    errors: Sequence[Step]
    effort: float
    notes: list[str]


def explain(service: Service, ask: ExplainRequest, request_id: str) -> Explanation:
    """What became of an item in the answer to a question. Raises not_found for a request that is not remembered."""
    id = wire.identifier(ask.item_id, "/item_id")
    if ask.request_id:
        past = remembered(service, ask.request_id, ask.user_id)
        question, answer, versions = past.ask, _then(service, past), past.answer.versions
        found = past.together.pipeline()
        if found is None:
            hint = "leave request_id out to ask about now; GET /v1/requests/{id} still tells what was answered"
            raise Refusal("not_found", _gone(past), hint=hint, pointer="/request_id")
        pipeline = found
    else:
        question, (answer, pipeline, versions) = ask, _now(service, ask, request_id)
    row = int(service.catalog.rows("item", [id])[0])
    told = Explanation(
        request_id=ask.request_id or request_id,
        user_id=None if question.user_id is None else str(question.user_id),
        item_id=id,
        scenario=question.scenario,
        time=wire.moment(int(answer.queries.time[0])),
        places=answer.places,
        versions=versions,
        notes=answer.notes,
    )
    if row < 0:
        told.text = f"not shown: there is no item {id!r}"
        told.lost = Lost("there is no such item", {}, "catalog", "")
        return told
    account = why.explain(
        _as_answered(pipeline, answer.errors),
        answer.queries,
        row,
        answer.places,
        items=service.catalog.size("item"),
        effort=answer.effort,
        condition=Condition(service.catalog, question.filter),
    )
    _tell(service, told, account, answer, pipeline, row)
    return told


def remembered(service: Service, request_id: str, user_id: str | int | None) -> Remembered:
    """The answer with that id, when it was given to `user_id`; of another's it is not even told that it exists."""
    found = service.memory.find(request_id, service.runtime.clock())
    if found is not None:
        row, asked = found.together.queries.user[found.at], found.ask.user_id
        erased = row >= 0 and not service.catalog.present("user", np.array([row], np.int32))[0]
        if not erased and (None if asked is None else str(asked)) == (None if user_id is None else str(user_id)):
            return found
    serve = service.runtime.settings.serve
    raise Refusal(
        "not_found",
        f"no answer {request_id!r} to this user is remembered",
        hint=f"{serve.remember:,} answers are kept for {serve.remember_for}; user_id must be the one who asked",
        pointer="/request_id",
    )


def trace(service: Service, request_id: str) -> Then:
    """An answer of the past. Raises not_found."""
    found = service.memory.find(request_id, service.runtime.clock())
    past = remembered(service, request_id, found.ask.user_id if found else None)
    slate, replayable = past.slate, past.together.pipeline() is not None
    columns = {
        name: [wire.finite(float(value)) for value in column]
        for name, column in slate.columns.items()
        if column.ndim == 1
    }
    return Then(
        request_id,
        wire.moment(past.time),
        wire.Question(**{name: getattr(past.ask, name) for name in wire.Question.__struct_fields__}),
        past.together.effort,
        _whole(past, columns),
        columns,
        replayable,
        [] if replayable else [_gone(past)],
    )


def _whole(past: Remembered, columns: Mapping[str, Sequence[float | None]]) -> wire.Recommendation:
    """The answer as it was given, with all that `explain: full` tells."""
    answer, items = past.answer, []
    for at, item in enumerate(answer.items):
        said = {name: columns[name][at] for name in item.sources if name in columns}
        items.append(structs.replace(item, scores={name: value for name, value in said.items() if value is not None}))
    return structs.replace(answer, items=items)


def _gone(past: Remembered) -> str:
    return f"the pipeline that answered it, of release {past.together.release or 'none'}, is no longer in memory"


def _now(service: Service, ask: ExplainRequest, request_id: str) -> tuple[_Answer, Pipeline, wire.Versions]:
    queries = service.question(ask, request_id)
    reply = service.runtime.recommend(ask.scenario, queries, ask.n or None, explain=False)
    pipeline = reply.release.pipelines[ask.scenario]
    notes = [*reply.trace.reasons, *_slowed(reply.effort)]
    if ask.user_id is not None and queries.user[0] < 0:
        notes.append(f"nobody knows {str(ask.user_id)!r}: this is what a newcomer gets")
    answer = _Answer(queries, reply.slate, ask.n or pipeline.limit, reply.trace.errors, reply.effort, notes)
    return answer, pipeline, wire.versions(reply.release, service.runtime.clock())


def _then(service: Service, past: Remembered) -> _Answer:
    together = past.together
    notes = [f"{step.label}: {step.error}" for step in together.errors] + _slowed(together.effort)
    if together.catalog != service.catalog.version("item"):
        notes.append("the catalogue has changed since: filters and features see it as it is now")
    return _Answer(past.queries, past.slate, past.places, together.errors, together.effort, notes)


def _slowed(effort: float) -> list[str]:
    return [] if effort == 1 else [f"sources were asked for {effort:.0%} of their candidates to keep answers quick"]


def _as_answered(pipeline: Pipeline, errors: Sequence[Step]) -> Pipeline:
    """The pipeline without the parts that the answer had to do without."""
    broken = {(step.stage, step.name) for step in errors}
    stages = {stage for stage, _ in broken}
    return replace(
        why.less_filters(pipeline, errors),
        sources={name: each for name, each in pipeline.sources.items() if ("recall", name) not in broken},
        features={name: each for name, each in pipeline.features.items() if ("feature", name) not in broken},
        coarse=_coarse_as_answered(pipeline.coarse, broken),
        scorer=None if "rank" in stages else pipeline.scorer,
        reranker=None if "rerank" in stages else pipeline.reranker,
    )


def _coarse_as_answered(coarse: Coarse | None, broken: Set[tuple[str, str]]) -> Coarse | None:
    if coarse is None:
        return None
    left = {name: each for name, each in coarse.features.items() if ("feature", f"coarse.{name}") not in broken}
    failed = any(stage == "coarse" for stage, _ in broken)
    return replace(coarse, features=left, scorer=None if failed else coarse.scorer)


@dataclass(frozen=True, slots=True)
class Condition:
    """Why a request does not allow an item: it was removed, or the condition of the request is not true of it."""

    catalog: Catalog
    where: str

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        present = self.catalog.present("item", found.item)
        said = Attribute(self.catalog, self.where).reasons(queries, found) if self.where else []
        return [
            (said[row] if said else Reason("not allowed")) if here else Reason("removed from the catalogue")
            for row, here in enumerate(present.tolist())
        ]


def _tell(
    service: Service, told: Explanation, account: why.Account, answer: _Answer, pipeline: Pipeline, row: int
) -> None:
    """Put the account into words, the page that was given being what counts."""
    words = Words(service, answer.queries)
    on_page = np.flatnonzero(answer.slate.item == row)
    told.title = words.title(row)
    told.shown, told.place = bool(len(on_page)), _or_none(int(on_page[0]) + 1 if len(on_page) else 0)
    told.rules = _rules(words, account, pipeline)
    told.sources = [_origin(words, each) for each in account.proposals]
    told.coarse = None if account.coarse is None else _cut(account.coarse)
    told.rank = None if account.ranked is None else _place(words, account.ranked)
    told.moves = [_move(words, each, told.places) for each in account.moved]
    if told.shown:
        rung = int(answer.slate.columns["rung"][on_page[0]])
        told.text = f"shown at place {told.place} of {told.places}" + (
            f", from {FILLED[rung]}" if rung >= STALE else ""
        )
    elif account.shown:
        told.text = "not shown then; asked again, it is: what the answer was made of has changed"
    else:
        told.lost = _lost(words, account)
        told.text = f"not shown: {_at(told.lost)}"
    if account.refused:
        would = replace(account, refused=())
        standing = f"stand at place {would.place} of {told.places}"
        if not told.shown:
            told.otherwise = "without that it would " + (
                standing if would.place else f"still not be shown: {_at(_lost(words, would))}"
            )
    elif not np.array_equal(
        answer.slate.item[answer.slate.columns["rung"] < STALE], account.slate.item[~account.slate.columns["fallback"]]
    ):
        told.notes.append("the page of the answer is not the page of this explanation: see its places as estimates")


@dataclass(frozen=True, slots=True)
class Words:
    """Rows, kinds and times as people read them."""

    service: Service
    queries: Queries

    def title(self, row: int) -> str | None:
        return self.service.lists.titles(np.array([row], np.int32))[0]

    def id(self, row: int) -> str:
        return self.service.catalog.ids("item", np.array([row], np.int32))[0]

    def item(self, row: int) -> str:
        return f'"{self.title(row) or self.id(row)}"'

    def because(self, row: int) -> str:
        met = self.service.lists.met(self.queries, np.array([row], np.int32))
        return f"because {met.get((0, row), 'of')} {self.item(row)}"

    def say(self, reason: Reason) -> tuple[str, dict[str, wire.Field]]:
        return sentences.say(reason, self._fact)

    def _fact(self, value: Any) -> sentences.Fact:
        if isinstance(value, np.uint8):
            name = self.service.kinds.name(int(value))
            return name, name
        if isinstance(value, np.int32):
            return self.item(int(value)), self.id(int(value))
        return sentences.plain(value)


def _rules(words: Words, account: why.Account, pipeline: Pipeline) -> list[Rule]:
    refused = {(each.stage, each.name): each.reason for each in account.refused}
    names = [key for key in refused if key[0] == "request"]
    names += [("filter", name) for name in pipeline.filters] + [("late", name) for name in pipeline.late_filters]
    passes = Reason("lets it through")
    return [Rule(*words.say(refused.get(key, passes)), *key, key not in refused) for key in names]


def _origin(words: Words, said: why.Proposal) -> Origin:
    if said.error:
        text = f"failed: {said.error}"
    elif said.rank:
        text = f"{'proposed it' if said.proposed else 'has it'} at rank {said.rank}, asked for {said.k}"
    else:
        text = "knows nothing of it" if math.isnan(said.score) else "has an opinion, but cannot propose it"
    if said.because >= 0:
        text += f"; {words.because(said.because)}"
    elif said.proposed and said.name in WORDS:
        text += f"; {WORDS[said.name]}"
    parts: list[tuple[int, float]] = list(said.parts)
    if said.because >= 0 and said.because not in dict(parts):
        parts.insert(0, (said.because, math.nan))
    because = [Liking(words.id(row), words.title(row), wire.finite(part)) for row, part in parts]
    score, least = wire.finite(said.score), wire.finite(said.least)
    return Origin(said.name, said.proposed, said.k, _or_none(said.rank), score, least, because, text)


def _cut(cut: why.Cut) -> Cut:
    score, last = wire.finite(cut.score), wire.finite(cut.last)
    text = f"place {cut.place} of {cut.of}, {cut.kept} go on"
    return Cut(cut.name, cut.passed, cut.place, cut.of, score, cut.kept, last, text)


def _place(words: Words, ranked: why.Ranked) -> Place:
    parts = [
        ScorePart(name, value, weight, value * weight, words.say(about)[0])
        for name, value, weight, about in ranked.parts
    ]
    score, last = wire.finite(ranked.score), wire.finite(ranked.last)
    text = f"place {ranked.place} of {ranked.of} by score"
    return Place(ranked.place, ranked.of, score, last, _or_none(ranked.enough), parts, text)


def _move(words: Words, moved: why.Moved, places: int) -> Move:
    if moved.after == moved.before or (not moved.after and moved.before > places):
        plain = f"left it at place {moved.before}"
    else:
        plain = f"moved it from place {moved.before} " + (f"to place {moved.after}" if moved.after else "off the page")
    text, facts = words.say(moved.reason) if moved.reason else ("", {})
    return Move(
        f"{plain}: {text}" if text else plain,
        facts,
        moved.name,
        moved.before,
        _or_none(moved.after),
        _or_none(moved.without),
    )


def _lost(words: Words, account: why.Account) -> Lost:
    lost = account.lost
    assert lost is not None, "it is shown"
    return Lost(*words.say(lost.reason), lost.stage, lost.name)


def _at(lost: Lost) -> str:
    """Where it was lost, and why."""
    words = {"request": "by the request", "coarse": "coarse ranker", "late": "late filter", "rerank": "rule"}
    name = lost.name if lost.stage in ("filter", "coarse", "late", "rerank") else ""
    return f"{words.get(lost.stage, lost.stage)} {name}".strip() + f": {lost.text}"


def _or_none(place: int) -> int | None:
    return place or None


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/v1/explain",
        "Why an item is on a person's list, or where it was lost; now, or in an answer of the past",
        lambda service, call: (200, explain(service, call.body, call.request_id)),
        Explanation,
        ExplainRequest,
        example={"user_id": "42", "item_id": "7"},
        scope="read",
        local=True,
        pii=True,
        about=lambda call: [call.body.user_id],
    ),
    Endpoint(
        "GET",
        "/v1/requests/{id}",
        "An answer of the past: what was asked, every stage, every score",
        lambda service, call: (200, trace(service, call.id)),
        Then,
        scope="read",
        local=True,
        pii=True,
    ),
)
