"""GET /statusz: what this process is made of and how it does, for the people who run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from time import perf_counter

from msgspec import Struct

from shortlist.errors import ShortlistError
from shortlist.release import age
from shortlist.rungs import LEVELS
from shortlist.serve import wire
from shortlist.serve.endpoint import Endpoint
from shortlist.serve.service import Service


class Dependency(Struct):
    """A store: whether it answers, in how many milliseconds, or what it says instead."""

    name: str
    ok: bool
    ms: float
    detail: str


class Worker(Struct):
    """One of the processes behind this address."""

    number: int
    of: int
    pid: int
    writes: bool


class Source(Struct):
    """A source that is left alone because it was too slow, and for how long."""

    name: str
    seconds: float


class Status(Struct):
    """`ready` as in /readyz. `rungs` counts lists by the rung of the ladder that they came from, since the start."""

    ready: bool
    release: str | None
    refused: str
    model_age_s: float | None
    data_as_of: datetime | None
    effort: float
    rungs: dict[str, int]
    paused: list[Source]
    remembered_bytes: int
    dependencies: list[Dependency]
    worker: Worker


def status(service: Service) -> Status:
    """How this process does."""
    runtime, siblings = service.runtime, service.siblings
    newest = runtime.release.facts.get("last_event")
    return Status(
        not service.leaving,
        runtime.release.version or None,
        runtime.refused,
        age(runtime.release.facts, runtime.clock()),
        wire.moment(newest) if isinstance(newest, int) else None,
        runtime.effort.share,
        dict(zip(LEVELS, service.metrics.rungs.tolist(), strict=True)),
        [Source(name, round(seconds, 3)) for name, seconds in runtime.breaker.states().items()],
        runtime.ladder.last.size,
        [
            _asked("catalog", lambda: f"{runtime.catalog.size('item')} items, {runtime.catalog.size('user')} users"),
            _asked("log", lambda: f"ends at {runtime.stores.log.end()}"),
            _asked("state", lambda: f"has come to {runtime.state.offset or 'the start'} of the log"),
        ],
        Worker(
            siblings.number if siblings else 0, siblings.count if siblings else 1, os.getpid(), not runtime.read_only
        ),
    )


def _asked(name: str, question: Callable[[], str]) -> Dependency:
    start = perf_counter()
    try:
        detail, ok = question(), True
    except (ShortlistError, OSError) as error:
        detail, ok = str(error), False
    return Dependency(name, ok, round((perf_counter() - start) * 1000, 3), detail)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/statusz",
        "What this process serves and how it does: stores, release, rungs, sources",
        lambda service, call: (200, status(service)),
        Status,
        scope="read",
    ),
)
