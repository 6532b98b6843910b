"""One person's data over HTTP: the export, the erasure with its proof, and lifting one."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from shortlist.serve import wire
from shortlist.serve.endpoint import Call, Endpoint
from shortlist.serve.problems import Refusal
from shortlist.serve.service import Service
from shortlist.stores.embedded_erasures import Erasure


class Operation(Struct):
    """An erasure. `removed` counts what went, place by place, once it is done. The id of the person is not in it."""

    operation: str
    status: Literal["running", "done"]
    asked: datetime
    done: datetime | None
    removed: dict[str, int]


class Operations(Struct):
    """In the order in which they were asked for."""

    erasures: list[Operation]


class Lifted(Struct):
    user_id: str
    lifted: bool


def told(erasure: Erasure) -> Operation:
    finished = erasure.done is not None
    return Operation(
        erasure.operation,
        "done" if finished else "running",
        wire.moment(erasure.asked),
        None if erasure.done is None else wire.moment(erasure.done),
        dict(erasure.proof) if finished else {},
    )


def _export(service: Service, call: Call) -> tuple[int, bytes]:
    return 200, msgspec.json.encode(service.privacy.export(wire.identifier(call.id, "")))


def _erase(service: Service, call: Call) -> tuple[int, Operation]:
    with service.changing:  # whoever is putting facts has either stored them, or finds the person erased
        operation = told(service.privacy.erase(wire.identifier(call.id, "")))
    return 202 if operation.status == "running" else 200, operation


def _operation(service: Service, call: Call) -> tuple[int, Operation]:
    erasures = service.privacy.erasures
    erasure = next(reversed(erasures.all()), None) if call.id == "newest" else erasures.get(call.id)
    if erasure is None:
        raise Refusal("not_found", f"there is no erasure {call.id[:80]!r}", hint="see GET /v1/erasures")
    return 200, told(erasure)


def _lift(service: Service, call: Call) -> tuple[int, Lifted]:
    id = wire.identifier(call.id, "")
    service.privacy.lift(id)
    return 200, Lifted(id, True)


def _one(call: Call) -> list[str]:
    return [call.id]


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/v1/users/{id}:export",
        "Everything that is kept about a user: facts, events with their context, what was made of them, keys",
        _export,
        scope="read",
        pii=True,
        about=_one,
    ),
    Endpoint(
        "POST",
        "/v1/users/{id}:erase",
        "Erase a user: unknown at once, gone from every file within a minute; the operation tells when, and what went",
        _erase,
        Operation,
        status=(200, 202),
        scope="admin",
    ),
    Endpoint(
        "POST",
        "/v1/users/{id}:lift",
        "Let an erased id be made again, as somebody new",
        _lift,
        Lifted,
        scope="admin",
    ),
    Endpoint(
        "GET",
        "/v1/erasures",
        "Every erasure with its proof",
        lambda service, call: (200, Operations([told(each) for each in service.privacy.erasures.all()])),
        Operations,
        scope="admin",
    ),
    Endpoint(
        "GET",
        "/v1/erasures/{id}",
        "How far an erasure has come; the last one is `newest`",
        _operation,
        Operation,
        scope="admin",
    ),
)
