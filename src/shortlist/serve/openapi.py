"""OpenAPI 3.1 from the table of endpoints and the structs they decode and encode."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

import shortlist
from shortlist.serve.problems import CODES, Problem

if TYPE_CHECKING:
    from shortlist.serve.endpoint import Endpoint

Schema = dict[str, Any]
HEADERS = {
    "If-Match": "only when its version is one of these entity tags; * = only when it is there",
    "If-None-Match": "not when its version is one of these entity tags; * = not when it is there",
    "Last-Event-ID": "go on after the event with this id",
    "Idempotency-Key": "a name for this request, new for each: the same again within 24 hours gets the same answer",
}


def document(endpoints: Iterable[Endpoint]) -> Schema:
    """The whole contract as one JSON document."""
    endpoints = tuple(endpoints)
    bodies = {each for endpoint in endpoints for each in (endpoint.answer, endpoint.body) if each}
    queries = {endpoint.query for endpoint in endpoints}
    ordered = sorted(bodies | {Problem}, key=lambda each: each.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    _, asked = msgspec.json.schema_components(queries)
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, asked)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Shortlist",
            "version": shortlist.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "made by `shortlist keys create`; needed off loopback, and where keys are required",
                }
            },
        },
        "x-codes": {
            name: {"status": code.status, "title": code.title, "retryable": code.retryable, "hint": code.hint}
            for name, code in CODES.items()
        },
    }


def _operation(endpoint: Endpoint, asked: dict[str, Schema]) -> Schema:
    query = asked[endpoint.query.__name__]
    parameters = [
        {"name": name, "in": "query", "required": name in query["required"], "schema": schema}
        for name, schema in query["properties"].items()
    ]
    for header in (*endpoint.headers, *(("Idempotency-Key",) if endpoint.once else ())):
        parameters.append(
            {"name": header, "in": "header", "description": HEADERS[header], "schema": {"type": "string"}}
        )
    for name in re.findall(r"{(\w+)}", endpoint.path):
        described = "opaque text of 1 to 256 bytes, percent-encoded"
        id = {"type": "string", "minLength": 1, "maxLength": 256}
        parameters.insert(0, {"name": name, "in": "path", "required": True, "description": described, "schema": id})
    media = endpoint.media.partition(";")[0]
    shape = {"type": "object" if media == "application/json" else "string"}
    content = {"schema": _reference(endpoint.answer) if endpoint.answer else shape}
    empty = {"description": endpoint.summary}
    answer = {**empty, "content": {media: content}}
    answers = {str(status): empty if status in (204, 304) else answer for status in endpoint.status}
    problem = {"description": "a problem", "content": {"application/problem+json": {"schema": _reference(Problem)}}}
    operation: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{endpoint.method.lower()}{endpoint.path}").strip("_"),
        "summary": endpoint.summary,
        "parameters": parameters,
        "responses": {**answers, "default": problem},
        "security": [] if endpoint.scope == "public" else [{"key": [endpoint.scope, *(["pii:read"] * endpoint.pii)]}],
    }
    if endpoint.body:
        body: Schema = {"schema": _reference(endpoint.body)}
        if endpoint.example is not None:
            body["example"] = endpoint.example
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _reference(struct: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{struct.__name__}"}
