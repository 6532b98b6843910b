"""The table of the API: what can be asked, what is answered. Routing, OpenAPI and the tests of the docs all read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from shortlist.serve import entities, erasures, events, ranking, releases, scenarios, status, why, wire
from shortlist.serve.endpoint import HTML, SCRIPT, STYLE, Answer, Call, Endpoint, alone
from shortlist.serve.openapi import document
from shortlist.serve.problems import Refusal
from shortlist.serve.service import Service

METRICS = "text/plain; version=1.0.0; charset=utf-8"


def _recommend(service: Service, calls: Sequence[Call]) -> list[Answer | Exception]:
    asks, ids = [call.body for call in calls], [call.request_id for call in calls]
    answers = service.recommend(asks, ids, [""] * len(calls), waited=max(call.waited for call in calls))
    return [answer if isinstance(answer, Refusal) else (200, answer) for answer in answers]


def _batch(service: Service, call: Call) -> tuple[int, Struct]:
    asks = call.body.requests
    ids = [f"{call.request_id}-{at}" for at in range(len(asks))]
    answers = service.recommend(asks, ids, [f"/requests/{at}" for at in range(len(asks))], waited=call.waited)
    results = [
        wire.BatchResult(answer.status, problem=answer.problem("/v1/recommend:batch", id))
        if isinstance(answer, Refusal)
        else wire.BatchResult(200, answer=answer)
        for answer, id in zip(answers, ids, strict=True)
    ]
    return 200, wire.BatchAnswer(call.request_id, results)


def _events(service: Service, calls: Sequence[Call]) -> list[Answer | Exception]:
    taken = service.intake.take_all([call.body.events for call in calls])
    return [(202, wire.EventsAnswer(call.request_id, results)) for call, results in zip(calls, taken, strict=True)]


def _nobody(call: Call) -> tuple[()]:
    return ()


def _static(name: str) -> Callable[[Service, Call], tuple[int, bytes]]:
    return lambda service, call: (200, _file(name))


@cache
def _file(name: str) -> bytes:
    return (files("shortlist.serve") / "static" / name).read_bytes()


def _openapi(service: Service, call: Call) -> tuple[int, bytes]:
    return 200, msgspec.json.encode(document(ENDPOINTS))


ENDPOINTS: tuple[Endpoint, ...] = (
    *erasures.ENDPOINTS,  # first: their paths are also paths of one user
    *entities.ENDPOINTS,
    *events.ENDPOINTS,
    *ranking.ENDPOINTS,
    *why.ENDPOINTS,
    *releases.ENDPOINTS,
    *scenarios.ENDPOINTS,
    *status.ENDPOINTS,
    Endpoint(
        "POST",
        "/v1/recommend",
        "A list for a person, a session, or nobody in particular",
        alone(_recommend),
        wire.Recommendation,
        wire.RecommendRequest,
        example={"user_id": "42", "n": 5, "filter": "year >= 1990"},
        scope="read",
        about=lambda call: (call.body.user_id,),
        together=_recommend,
        most=8,  # so that the first of them does not wait long for the last
        memory=True,
    ),
    Endpoint(
        "POST",
        "/v1/recommend:batch",
        "Lists for up to 500 questions, each with its own status",
        _batch,
        wire.BatchAnswer,
        wire.BatchRequest,
        example={"requests": [{"user_id": "42", "n": 5}, {"user_id": "43", "n": 5}]},
        larger=True,
        scope="read",
        about=lambda call: (each.user_id for each in call.body.requests),
    ),
    Endpoint(
        "GET",
        "/v1/items/{id}/similar",
        "Items like this one",
        lambda service, call: (200, service.similar(call.id, call.query, call.request_id)),
        wire.Recommendation,
        query=wire.SimilarQuery,
        scope="read",
        about=lambda call: (call.query.user_id or None,),
    ),
    Endpoint(
        "POST",
        "/v1/events",
        "Store what people did: 1 to 1,000 events, each with its own result; the next answer knows them",
        alone(_events),
        wire.EventsAnswer,
        wire.EventsRequest,
        status=(202,),
        example={"events": [{"user_id": "42", "item_id": "7", "type": "rate", "value": 5}]},
        scope="write",
        about=lambda call: (each.user_id for each in call.body.events),
        together=_events,
    ),
    Endpoint(
        "GET",
        "/v1/users/{id}/history",
        "What a user did last, newest first",
        lambda service, call: (200, service.history(call.id, call.query.limit)),
        wire.History,
        query=wire.HistoryQuery,
        scope="read",
        pii=True,
        about=lambda call: (call.id,),
    ),
    Endpoint(
        "GET",
        "/v1/people",
        "People worth looking at: from the longest history to the shortest",
        lambda service, call: (200, service.people(call.query.limit)),
        wire.People,
        query=wire.PeopleQuery,
        scope="read",
        pii=True,
    ),
    Endpoint(
        "GET",
        "/v1/info",
        "What this installation knows and serves",
        lambda service, call: (200, service.info()),
        wire.Info,
        scope="read",
        about=_nobody,
    ),
    Endpoint(
        "GET",
        "/livez",
        "The process is alive",
        lambda service, call: (200, wire.Alive(True)),
        wire.Alive,
        quick=True,
        scope="public",
    ),
    Endpoint(
        "GET",
        "/readyz",
        "The server can answer, and from which release",
        lambda service, call: (503 if service.leaving else 200, service.ready()),
        wire.Ready,
        quick=True,
        scope="public",
    ),
    Endpoint(
        "GET",
        "/metrics",
        "Counters in Prometheus form",
        lambda service, call: (200, service.exposition(call.headers)),
        media=METRICS,
        scope="read",
    ),
    Endpoint("GET", "/openapi.json", "This table as OpenAPI 3.1", _openapi, scope="read"),
    Endpoint("GET", "/docs", "This table as a page", _static("docs.html"), media=HTML, scope="public"),
    Endpoint(
        "GET",
        "/",
        "A page: a person, their history, their list and why",
        _static("index.html"),
        query=wire.PageQuery,
        media=HTML,
        scope="public",
    ),
    Endpoint("GET", "/static/page.js", "Script of the page", _static("page.js"), media=SCRIPT, scope="public"),
    Endpoint("GET", "/static/docs.js", "Script of the docs", _static("docs.js"), media=SCRIPT, scope="public"),
    Endpoint("GET", "/static/style.css", "Looks of both", _static("style.css"), media=STYLE, scope="public"),
)
