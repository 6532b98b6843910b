"""Releases over HTTP: what there is, through the gate, back again.

The gate works in a process of its own that makes way for the server: a release is loaded, asked and timed there while
answers go on here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

import msgspec
from msgspec import Meta, Struct

from shortlist import release
from shortlist.batch import gate
from shortlist.batch.steps import open_configured
from shortlist.config import Settings
from shortlist.errors import ReleaseError
from shortlist.serve.endpoint import Call, Endpoint
from shortlist.serve.problems import Refusal
from shortlist.serve.service import Service

P = ParamSpec("P")
T = TypeVar("T")
Reason = Annotated[str, Meta(max_length=1000, description="the reason, for the history")]


class PublishRequest(Struct, forbid_unknown_fields=True):
    force: Annotated[bool, Meta(description="publish although checks failed, which the history keeps")] = False
    why: Reason = ""


class RollbackRequest(Struct, forbid_unknown_fields=True):
    to: Annotated[str, Meta(max_length=64, description="a version; what was served before when left out")] = ""
    why: Reason = ""


class Summary(Struct):
    """A release. `damaged`: its release.json cannot be read."""

    version: str
    state: Literal["live", "previous", "kept", "damaged"]
    created: str | None
    events: int | None
    users: int | None
    items: int | None


class Releases(Struct):
    """Newest first."""

    releases: list[Summary]


class Happened(Struct):
    """Something that was done to a release, and by whom; `failed` names the checks that had failed."""

    time: str
    action: str
    before: str | None
    by: str
    why: str
    failed: list[str]


class Detail(Struct):
    """A release, what was recorded when it was made, and what happened to it since, oldest first."""

    release: Summary
    facts: dict[str, Any]
    history: list[Happened]


class GateRow(Struct):
    """One check. `none`: there was nothing to compare, `hint` says why."""

    name: str
    live: float | None
    candidate: float | None
    limit: str
    verdict: Literal["pass", "fail", "none"]
    hint: str


class Published(Struct):
    """What is served now, what was before, and the table of the gate."""

    release: str
    before: str | None
    failed: list[str]
    checks: list[GateRow]


class RolledBack(Struct):
    release: str
    before: str | None


def _list(service: Service, call: Call) -> tuple[int, Struct]:
    root = service.runtime.settings.releases_path
    return 200, Releases([_summary(service, version) for version in reversed(release.versions(root))])


def _show(service: Service, call: Call) -> tuple[int, Struct]:
    root, version = service.runtime.settings.releases_path, _named(service, call.id)
    past = [
        Happened(each.time, each.action, each.before, each.by, each.why, list(each.failed))
        for each in release.history(root)
        if each.release == version
    ]
    return 200, Detail(_summary(service, version), release.card(root, version), past)


def _publish(service: Service, call: Call) -> tuple[int, Struct]:
    version, settings = _named(service, call.id), service.runtime.settings
    found, published = _apart(_through, settings, version, call.body.force, _who(call), call.body.why)
    rows = [GateRow(each.name, each.live, each.candidate, each.limit, each.verdict, each.hint) for each in found.checks]
    told = Published(version, found.live, found.failed, rows)
    if not published:
        refused = gate.GateFailed(found)
        raise Refusal("gate_failed", refused.message, hint=refused.hint, attached=msgspec.to_builtins(told))
    _serve(service, version)
    return 200, told


def _rollback(service: Service, call: Call) -> tuple[int, Struct]:
    root, to = service.runtime.settings.releases_path, _named(service, call.body.to) if call.body.to else ""
    version, before = release.roll_back(root, to, by=_who(call), why=call.body.why)
    try:
        _serve(service, version)
    except ReleaseError as error:
        if before is not None:  # other workers, and the next start, shall not meet it
            release.publish(root, before, action="rollback", by=_who(call), why=error.message)
        raise
    return 200, RolledBack(version, before)


def _through(settings: Settings, version: str, force: bool, by: str, why: str) -> tuple[gate.Gate, bool]:
    """The gate, and whether the release was published."""
    os.nice(10)
    with open_configured(settings, read_only=True) as stores:
        try:
            return gate.publish(settings, stores, version, force=force, by=by, why=why), True
        except gate.GateFailed as refused:
            return refused.gate, False


def _apart(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What `work` returns, or raises, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given, **named).result()


def _serve(service: Service, version: str) -> None:
    """Serve it here when the answer leaves; other workers look within a second."""
    runtime = service.runtime
    runtime.refresh()
    if runtime.release.version != version and runtime.refused:
        raise ReleaseError(runtime.refused, hint="roll back, or publish another release")


def _named(service: Service, id: str) -> str:
    """A version, or what `current`, `previous` and `newest` stand for."""
    root = service.runtime.settings.releases_path
    known = release.versions(root)
    newest = known[-1] if known else None
    names = {"current": release.current(root), "previous": release.previous(root), "newest": newest}
    found = names.get(id, id if id in known else None)
    if found is None:
        raise Refusal("not_found", f"there is no release {id[:64]!r}", hint="see those there are with GET /v1/releases")
    return found


def _summary(service: Service, version: str) -> Summary:
    root = service.runtime.settings.releases_path
    try:
        facts = release.facts(root, version)
    except ReleaseError:
        return Summary(version, "damaged", None, None, None, None)
    state: Literal["live", "previous", "kept"] = "kept"
    if version == release.current(root):
        state = "live"
    elif version == release.previous(root):
        state = "previous"
    return Summary(version, state, *(facts.get(name) for name in ("created", "events", "users", "items")))


def _who(call: Call) -> str:
    return f"HTTP request {call.request_id}"


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/v1/releases", "Every release that was trained, newest first", _list, Releases, scope="admin"),
    Endpoint(
        "POST",
        "/v1/releases:rollback",
        "Serve again what was served before, or another version",
        _rollback,
        RolledBack,
        RollbackRequest,
        example={"why": "empty lists in the app"},
        once=True,
        scope="admin",
    ),
    Endpoint(
        "POST",
        "/v1/releases/{id}:publish",
        "Let a release through the gate and serve it; `newest` stands for the newest",
        _publish,
        Published,
        PublishRequest,
        example={"force": False, "why": "trained on November"},
        once=True,
        scope="admin",
    ),
    Endpoint(
        "GET",
        "/v1/releases/{id}",
        "A release and what happened to it; `current`, `previous` and `newest` are names, too",
        _show,
        Detail,
        scope="admin",
    ),
)
