"""One row of the table of the API, and the request it is called with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from starlette.responses import Response

from shortlist.serve import wire
from shortlist.serve.service import Service

JSON, HTML, SCRIPT, STYLE = "application/json", "text/html; charset=utf-8", "text/javascript; charset=utf-8", "text/css"
MERGE_PATCH = "application/merge-patch+json"

Scope: TypeAlias = Literal["public", "read", "write", "admin"]
"""What a key must allow: each scope contains the ones before it; "public" needs no key."""

Said: TypeAlias = Struct | bytes | Response
Answer: TypeAlias = tuple[int, Said] | tuple[int, Said, Mapping[str, str]]
"""Status, body, headers. A Response is sent as it is."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request, read."""

    request_id: str
    id: str  # the one path parameter, "" where there is none
    query: Any
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)  # names in any case
    waited: float = 0.0  # seconds between its arrival and now


Together: TypeAlias = Callable[[Service, Sequence[Call]], Sequence[Answer | Exception]]
"""Several calls at once: an answer or a refusal for each."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `run` returns a status and a struct, or bytes of the type `media`."""

    method: str
    path: str
    summary: str
    run: Callable[[Service, Call], Answer]
    answer: type[Struct] | None = None
    body: type[Struct] | None = None
    query: type[Struct] = wire.Nothing
    status: tuple[int, ...] = (200,)
    media: str = JSON
    example: Any = None  # a body
    headers: tuple[str, ...] = ()  # request headers that it reads, of those in openapi.HEADERS
    once: bool = False  # starts work, so it takes an Idempotency-Key
    larger: bool = False  # the body may have ten times the usual size
    quick: bool = False  # never waits: answered without a worker
    scope: Scope = field(kw_only=True)  # what a key must allow; every endpoint says so
    local: bool = False  # known to the worker alone that answered before: where there are several, all are asked
    pii: bool = False  # tells what people did or who they are: about others only with the scope pii:read
    together: Together | None = None  # `run` for several calls, where that is cheaper than one by one
    most: int = 256  # calls that are answered together
    memory: bool = False  # those answered together need no worker when all that the runtime needs is at hand
    about: Callable[[Call], Iterable[str | int | None]] | None = None
    """The people a call names, for keys that belong to one person; None = it is about everybody, which they may not."""

    @property
    def changes(self) -> bool:
        """True when it needs the process that writes."""
        return self.once or (self.method != "GET" and self.scope in ("write", "admin"))


def alone(together: Together) -> Callable[[Service, Call], Answer]:
    """`Endpoint.run` of an endpoint that answers several calls together."""

    def run(service: Service, call: Call) -> Answer:
        (said,) = together(service, [call])
        if isinstance(said, Exception):
            raise said
        return said

    return run
