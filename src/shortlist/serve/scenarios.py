"""Scenarios, the named pipelines: shown, tried out, edited and taken back while serving."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

from shortlist.config import PipelineTable, convert
from shortlist.errors import ConfigError
from shortlist.scenarios import plain
from shortlist.serve import wire
from shortlist.serve.endpoint import Answer, Call, Endpoint
from shortlist.serve.entities import Guard, etag
from shortlist.serve.problems import Refusal
from shortlist.serve.service import Service

T = TypeVar("T")
Table = Annotated[
    dict[str, Any], Meta(description="as [pipelines.NAME] of shortlist.toml: limit, sources, filters, rank, rerank ...")
]
EXAMPLE = {
    "limit": 10,
    "sources": {"als": {"model": "als", "k": 150}, "fresh": {"use": "recall.fresh:Fresh", "k": 20}},
    "filters": {"seen": {"use": "filters.seen:Seen"}, "available": {"use": "filters.available:Available"}},
    "rerank": {"use": "rerank.mmr:Mmr", "trade": 0.4},
}


class TableRequest(Struct, forbid_unknown_fields=True):
    """What a scenario is made of, as a whole."""

    table: Table


class PreviewRequest(Struct, forbid_unknown_fields=True):
    """A table to try, and the question to ask it; `scenario` of the question says nothing here."""

    table: Table
    request: wire.RecommendRequest = field(default_factory=wire.RecommendRequest)


class Scenario(Struct, omit_defaults=True):
    """`version` counts the edits, 0 = as the release has it. `refused` says why the present release cannot serve the
    edit; what the release has is served meanwhile, if it has that scenario."""

    name: str
    version: int
    edited: bool
    table: Table
    etag: str
    refused: str | UnsetType = UNSET


class ScenarioList(Struct):
    scenarios: list[Scenario]


class Edit(Struct):
    """One version; no table = back to what the release has."""

    version: int
    time: datetime
    table: Table | None


class Edits(Struct):
    """Newest first."""

    name: str
    versions: list[Edit]


def get(service: Service, name: str) -> Scenario:
    """Raises not_found for what neither the release nor an edit has."""
    found = _found(service, name)
    if found is None:
        known = ", ".join(sorted(service.runtime.release.pipelines))
        raise Refusal("not_found", f"there is no scenario {name[:70]!r}", hint=f"there are: {known}")
    return found


def everything(service: Service) -> ScenarioList:
    """All scenarios by name."""
    names = {*service.runtime.release.pipelines, *service.runtime.scenarios.names()}
    found = (_found(service, name) for name in sorted(names))
    return ScenarioList([each for each in found if each is not None])


def put(service: Service, name: str, table: Table, guard: Guard) -> tuple[Scenario, bool]:
    """Serve `table` as `name` from the next answer on; whether that is new."""
    typed = _typed(table, name)
    with service.changing:
        before = _found(service, name)
        guard.check(before.etag if before else None, f"scenario {name!r}")
        _refusing(lambda: service.runtime.edit(name, typed), name)
    return get(service, name), before is None


def remove(service: Service, name: str, guard: Guard) -> None:
    """Back to what the release has; not_found when that is so already."""
    with service.changing:
        before = get(service, name)
        guard.check(before.etag, f"scenario {name!r}")
        if not before.edited:
            raise Refusal("not_found", f"scenario {name!r} is as the release has it", hint="there is nothing to undo")
        service.runtime.edit(name, None)


def preview(service: Service, name: str, asked: PreviewRequest, request_id: str) -> wire.Recommendation:
    """The list that `table` would give, without serving it to anybody."""
    runtime, table = service.runtime, _typed(asked.table, name)
    trial = _refusing(lambda: runtime.scenarios.trial(runtime.trained, name, table, runtime.clock()), name)
    ask = replace(asked.request, scenario=name)
    (answer,) = service.recommend([ask], [request_id], ["/request"], trial)
    if isinstance(answer, Refusal):
        raise answer
    return answer


def history(service: Service, name: str) -> Edits:
    """The last versions of a scenario."""
    get(service, name)
    return Edits(
        name,
        [
            Edit(each.number, wire.moment(each.time), each.table)
            for each in reversed(service.runtime.scenarios.history(name))
        ],
    )


def _found(service: Service, name: str) -> Scenario | None:
    scenarios, trained = service.runtime.scenarios, service.runtime.trained
    table = scenarios.table(trained, name)
    if table is None:
        return None
    versions = scenarios.history(name)
    told = plain(table)
    return Scenario(
        name,
        versions[-1].number if versions else 0,
        bool(versions and versions[-1].table is not None),
        told,
        etag(told),
        scenarios.refused.get(name, UNSET),
    )


def _typed(table: Table, name: str) -> PipelineTable:
    return _refusing(lambda: convert(PipelineTable, table, name), name)


def _refusing(work: Callable[[], T], name: str) -> T:
    """`work`, its mistakes of configuration told as mistakes in the table of the request."""
    try:
        return work()
    except ConfigError as error:
        inside = error.where.removeprefix(name).replace("[", ".").replace("]", "").split(".")
        pointer = "/".join(["/table", *(wire.escaped(part) for part in inside if part)])
        raise Refusal("invalid_argument", error.message, hint=error.hint, pointer=pointer) from None


def _put(service: Service, call: Call) -> Answer:
    made, new = put(service, call.id, call.body.table, Guard.of(call.headers))
    return 201 if new else 200, made, {"ETag": made.etag}


def _get(service: Service, call: Call) -> Answer:
    found = get(service, call.id)
    return 200, found, {"ETag": found.etag}


def _remove(service: Service, call: Call) -> Answer:
    remove(service, call.id, Guard.of(call.headers))
    return 204, b""


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/scenarios",
        "The scenarios that are served, and what each is made of",
        lambda service, call: (200, everything(service)),
        ScenarioList,
        scope="read",
    ),
    Endpoint(  # before the next, whose path it has too
        "GET",
        "/v1/scenarios/{name}:history",
        "The last 20 edits of a scenario, newest first",
        lambda service, call: (200, history(service, call.id)),
        Edits,
        scope="read",
    ),
    Endpoint("GET", "/v1/scenarios/{name}", "What one scenario is made of", _get, Scenario, scope="read"),
    Endpoint(
        "PUT",
        "/v1/scenarios/{name}",
        "Edit or make a scenario from what the release holds; served from the next answer on",
        _put,
        Scenario,
        TableRequest,
        status=(200, 201),
        example={"table": EXAMPLE},
        headers=("If-Match", "If-None-Match"),
        scope="admin",
    ),
    Endpoint(
        "DELETE",
        "/v1/scenarios/{name}",
        "Undo the edits of a scenario: it is again as the release has it, or gone",
        _remove,
        status=(204,),
        headers=("If-Match",),
        scope="admin",
    ),
    Endpoint(
        "POST",
        "/v1/scenarios/{name}:preview",
        "The list that a table would give, without serving it to anybody",
        lambda service, call: (200, preview(service, call.id, call.body, call.request_id)),
        wire.Recommendation,
        PreviewRequest,
        example={"table": EXAMPLE, "request": {"user_id": "42", "n": 5}},
        scope="admin",
        pii=True,
    ),
)
