"""Items and users: read, listed, put, patched and deleted, one or many at once, guarded by their ETag."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from shortlist.errors import ConfigError
from shortlist.filters.expression import parse
from shortlist.protocols import Catalog
from shortlist.serve import wire
from shortlist.serve.endpoint import Answer, Call, Endpoint
from shortlist.serve.problems import Problem, Refusal
from shortlist.serve.service import Service
from shortlist.types import Column, Rows

CHUNK = 50_000  # rows whose facts are looked at together
LOOKED_AT = 500_000  # rows looked at for one page; where fewer match, the page is shorter and has a cursor
Entity = Literal["item", "user"]
Given = dict[str, wire.Field | None]

PageSize = Annotated[int, Meta(ge=1, le=1000)]
Cursor = Annotated[str, Meta(max_length=2000, description="next_cursor of the page before")]


class PutRequest(Struct, forbid_unknown_fields=True):
    """The facts of an item or a user; those that are not given are forgotten. null = no value."""

    fields: Annotated[Given, Meta(max_length=200)]


class PatchRequest(Struct, forbid_unknown_fields=True):
    """What changes (JSON merge patch, RFC 7396): the facts that are given; null removes one, the others stay."""

    fields: Annotated[Given, Meta(max_length=200)]


class Change(Struct, forbid_unknown_fields=True):
    """One of many changes."""

    id: wire.Id
    op: Literal["put", "patch", "delete"] = "put"
    fields: Annotated[Given, Meta(max_length=200)] = {}
    if_match: Annotated[str, Meta(max_length=1000, description="as the header If-Match; no condition when empty")] = ""


class ChangesRequest(Struct, forbid_unknown_fields=True):
    """Applied in their order; one that is refused does not stop the others."""

    changes: Annotated[list[Change], Meta(min_length=1, max_length=1000)]


class ListQuery(Struct, forbid_unknown_fields=True):
    filter: Annotated[str, Meta(max_length=2000, description="condition on the columns, such as year >= 1990")] = ""
    page_size: PageSize = 100
    cursor: Cursor = ""


class Facts(Struct):
    """An item or a user. `etag` is the version of its facts."""

    id: str
    fields: dict[str, wire.Field]
    etag: str


class Page(Struct, omit_defaults=True):
    """In order of arrival. The last page has no `next_cursor`; a page before it may be short."""

    entities: list[Facts]
    next_cursor: str | UnsetType = UNSET


class Stored(Struct):
    id: str
    created: bool
    etag: str


class ChangeResult(Struct, omit_defaults=True):
    """What became of one change."""

    id: str
    status: int
    etag: str | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


class ChangesAnswer(Struct):
    """One result a change, in their order."""

    request_id: str
    results: list[ChangeResult]


@dataclass(frozen=True, slots=True)
class Guard:
    """The conditions of a request (RFC 9110, 13.1): tags separated by commas, `*` any, "" no condition."""

    match: str = ""
    none_match: str = ""

    @staticmethod
    def of(headers: Mapping[str, str]) -> Guard:
        return Guard(headers.get("if-match", ""), headers.get("if-none-match", ""))

    def check(self, present: str | None, what: str) -> None:
        """Refuses with version_mismatch unless the conditions hold for the ETag `present`; None = it is not there."""
        if self.match and present not in _tags(self.match, present):
            now = "it is not there" if present is None else f"its version is {present}"
            raise Refusal("version_mismatch", f"{what} is not the version that If-Match names: {now}")
        if self.told(present):
            raise Refusal(
                "version_mismatch",
                f"{what} is there already, as version {present}",
                hint="leave out If-None-Match to replace it",
            )

    def told(self, present: str | None) -> bool:
        """Whether If-None-Match names the version that is present."""
        return bool(self.none_match) and present is not None and present in _tags(self.none_match, present, weak=True)


_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e]*")')


def _tags(header: str, present: str | None, *, weak: bool = False) -> list[str | None]:
    """The tags that a header names; `*` is `present`, if that is anything. Weak ones never match strongly."""
    if header.strip() == "*":
        return [] if present is None else [present]
    found = [_TAG.fullmatch(each.strip()) for each in header.split(",")]
    if None in found:
        raise Refusal(
            "invalid_argument",
            f"{header[:100]!r} is not a list of entity tags",
            hint="send an ETag as it came, with its quotes, or *",
            pointer="/if_match",
        )
    return [each[2] for each in found if each and (weak or not each[1])]


def etag(fields: Mapping[str, Any]) -> str:
    """The version of facts: the same facts, the same tag."""
    return f'"{blake2b(msgspec.json.encode(fields, order="sorted"), digest_size=12).hexdigest()}"'


def facts_of(catalog: Catalog, entity: Entity, rows: Rows) -> list[dict[str, wire.Field]]:
    """The facts of each row as JSON."""
    columns = catalog.read(entity, rows, catalog.names(entity))
    return [wire.fields({name: column[at] for name, column in columns.items()}) for at in range(len(rows))]


def get(service: Service, entity: Entity, id: str) -> Facts:
    """Raises not_found for what was never put, or deleted since."""
    catalog = service.catalog
    row = catalog.rows(entity, [wire.identifier(id, "")])
    if not catalog.present(entity, row)[0]:
        raise _absent(entity, id)
    (fields,) = facts_of(catalog, entity, row)
    return Facts(id, fields, etag(fields))


def page(service: Service, entity: Entity, query: ListQuery) -> Page:
    """The next `page_size` that fulfil the condition."""
    catalog, listing = service.catalog, f"{entity} {query.filter}"
    at = start = service.cursors.read(listing, query.cursor) if query.cursor else 0
    size, rows = catalog.size(entity), np.empty(0, np.int32)
    try:
        condition = parse(query.filter) if query.filter else None
        while at < size and at < start + LOOKED_AT and len(rows) <= query.page_size:
            some = np.arange(at, min(at + CHUNK, size), dtype=np.int32)
            fit = catalog.present(entity, some)
            if condition:
                fit &= condition.over(catalog, entity, some)
            rows, at = np.concatenate((rows, some[fit])), int(some[-1]) + 1
    except ConfigError as error:
        raise Refusal("invalid_argument", str(error), hint=error.hint, pointer="/filter") from None
    if len(rows) > query.page_size:
        at, rows = int(rows[query.page_size]), rows[: query.page_size]
    told = [
        Facts(id, fields, etag(fields))
        for id, fields in zip(catalog.ids(entity, rows), facts_of(catalog, entity, rows), strict=True)
    ]
    return Page(told, service.cursors.write(listing, at) if at < size else UNSET)


def change(
    service: Service, entity: Entity, changes: Sequence[Change], guards: Sequence[Guard], where: Sequence[str]
) -> list[Stored | Refusal | None]:
    """Apply `changes` in their order and tell what became of each; None = deleted. Durable when it returns.

    Changes of several callers happen one after another. Events that waited for an item take effect. `where` is the JSON
    pointer to each change.
    """
    with service.changing:
        draft = _Draft(service.catalog, entity)
        results: list[Stored | Refusal | None] = []
        for each, guard, pointer in zip(changes, guards, where, strict=True):
            try:
                results.append(draft.apply(each, guard, pointer))
            except Refusal as refused:
                results.append(refused)
        made = draft.store()
    if entity == "item" and made:
        service.runtime.arrived(made)
    return results


class _Draft:
    """Facts as they will be: one typed value a column, by id; None = not there."""

    def __init__(self, catalog: Catalog, entity: Entity) -> None:
        self.catalog, self.entity = catalog, entity
        self.names = catalog.names(entity)
        self.like = dict(catalog.read(entity, np.zeros(1, np.int32), self.names))  # a value of each column: its type
        self.facts: dict[str, dict[str, Column] | None] = {}

    def apply(self, change: Change, guard: Guard, where: str) -> Stored | None:
        id = wire.identifier(change.id, f"{where}/id" if where else "")
        if id not in self.facts:
            row = self.catalog.rows(self.entity, [id])
            there = bool(self.catalog.present(self.entity, row)[0])
            self.facts[id] = dict(self.catalog.read(self.entity, row, self.names)) if there else None
        old = self.facts[id]
        if old is None and change.op != "put":
            raise _absent(self.entity, id)
        if change.op == "put" and self.entity == "user" and self.catalog.erased([id])[0]:
            raise Refusal("conflict", f"user {id!r} was erased", hint="lift the erasure; then they are somebody new")
        guard.check(None if old is None else _etag(old), f"{self.entity} {id!r}")
        if change.op == "delete":
            self.facts[id] = None
            return None
        new = self._typed(change.fields, f"{where}/fields")
        self.like |= {name: each for name, each in new.items() if name not in self.like}
        self.facts[id] = kept = {**(old or {}), **new} if change.op == "patch" else new
        return Stored(id, old is None, _etag(kept))

    def store(self) -> list[str]:
        """Write what changed; the ids of those that are there now."""
        kept = {id: facts for id, facts in self.facts.items() if facts is not None}
        gone = [id for id, facts in self.facts.items() if facts is None]
        if kept:
            blank = {name: wire.column(None, like, "") for name, like in self.like.items()}
            columns = {
                name: np.concatenate([facts.get(name, none) for facts in kept.values()]) for name, none in blank.items()
            }
            self.catalog.put(self.entity, self.catalog.rows(self.entity, [*kept], create=True), columns)
        if gone:
            self.catalog.remove(self.entity, self.catalog.rows(self.entity, gone))
        return [*kept]

    def _typed(self, fields: Given, where: str) -> dict[str, Column]:
        if "" in fields:
            raise Refusal("invalid_argument", "a column without a name", hint="name every field", pointer=f"{where}/")
        return {
            name: wire.column(value, self.like.get(name), f"{where}/{wire.escaped(name)}")
            for name, value in fields.items()
            if value is not None or name in self.like
        }


def _etag(facts: Mapping[str, Column]) -> str:
    return etag(wire.fields({name: column[0] for name, column in facts.items()}))


def _absent(entity: Entity, id: str) -> Refusal:
    return Refusal("not_found", f"there is no {entity} {id!r}", hint=f"make it with PUT /v1/{entity}s/{{id}}")


def _get(entity: Entity) -> Callable[[Service, Call], Answer]:
    def run(service: Service, call: Call) -> Answer:
        found = get(service, entity, call.id)
        if Guard(none_match=call.headers.get("if-none-match", "")).told(found.etag):
            return 304, b"", {"ETag": found.etag}
        return 200, found, {"ETag": found.etag}

    return run


def _change(entity: Entity, op: Literal["put", "patch", "delete"]) -> Callable[[Service, Call], Answer]:
    def run(service: Service, call: Call) -> Answer:
        asked = Change(call.id, op, call.body.fields if call.body else {})
        (result,) = change(service, entity, [asked], [Guard.of(call.headers)], [""])
        if isinstance(result, Refusal):
            raise result
        if result is None:
            return 204, b""
        return 201 if result.created else 200, result, {"ETag": result.etag}

    return run


def _batch(entity: Entity) -> Callable[[Service, Call], Answer]:
    def run(service: Service, call: Call) -> Answer:
        asked: list[Change] = call.body.changes
        guards = [Guard(each.if_match) for each in asked]
        done = change(service, entity, asked, guards, [f"/changes/{at}" for at in range(len(asked))])
        results = [_result(str(each.id), result, entity, call) for each, result in zip(asked, done, strict=True)]
        return 200, ChangesAnswer(call.request_id, results)

    return run


def _result(id: str, result: Stored | Refusal | None, entity: Entity, call: Call) -> ChangeResult:
    if isinstance(result, Refusal):
        return ChangeResult(id, result.status, problem=result.problem(f"/v1/{entity}s:batch", call.request_id))
    if result is None:
        return ChangeResult(id, 204)
    return ChangeResult(id, 201 if result.created else 200, result.etag)


def _endpoints(entity: Entity, put: str, example: Given, patch: Given, delete: str) -> tuple[Endpoint, ...]:
    path, a = f"/v1/{entity}s", {"item": "an item", "user": "a user"}[entity]
    guarded, person = ("If-Match", "If-None-Match"), entity == "user"
    about: Callable[[Call], tuple[str, ...]] = (lambda call: (call.id,)) if person else (lambda call: ())
    change_about = about if person else None  # a person's own key changes no items
    return (
        Endpoint(
            "GET",
            path,
            f"All {entity}s that fulfil a condition, page by page",
            lambda service, call: (200, page(service, entity, call.query)),
            Page,
            query=ListQuery,
            scope="read",
            pii=person,
            about=None if person else about,
        ),
        Endpoint(
            "POST",
            f"{path}:batch",
            f"Put, patch or delete up to 1,000 {entity}s, each with its own result",
            _batch(entity),
            ChangesAnswer,
            ChangesRequest,
            example={"changes": [{"id": "7", "fields": example}, {"id": "8", "op": "delete"}]},
            once=True,
            larger=True,
            scope="write",
        ),
        Endpoint(
            "GET",
            f"{path}/{{id}}",
            f"The facts of {a}",
            _get(entity),
            Facts,
            status=(200, 304),
            headers=("If-None-Match",),
            scope="read",
            pii=person,
            about=about,
        ),
        Endpoint(
            "PUT",
            f"{path}/{{id}}",
            put,
            _change(entity, "put"),
            Stored,
            PutRequest,
            status=(200, 201),
            example={"fields": example},
            headers=guarded,
            scope="write",
            about=change_about,
        ),
        Endpoint(
            "PATCH",
            f"{path}/{{id}}",
            f"Change some facts of {a}: null removes one, the others stay",
            _change(entity, "patch"),
            Stored,
            PatchRequest,
            example={"fields": patch},
            headers=guarded,
            scope="write",
            about=change_about,
        ),
        Endpoint(
            "DELETE",
            f"{path}/{{id}}",
            delete,
            _change(entity, "delete"),
            status=(204,),
            headers=guarded,
            scope="write",
            about=change_about,
        ),
    )


ENDPOINTS = (
    *_endpoints(
        "item",
        "Make an item or replace its facts; it can be recommended at once",
        {"title": "Harbour Lights", "genres": ["Drama"], "year": 2024},
        {"year": 2025, "genres": None},
        "Take an item off: no list holds it any more, until it is put again",
    ),
    *_endpoints(
        "user",
        "Make a user or replace their facts",
        {"age": 34},
        {"age": 35},
        "Forget the facts of a user; what they did stays",
    ),
)
