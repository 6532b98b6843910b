"""From a request to an answer: strict at the edge, busy in a few worker threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shortlist.errors import StoreError
from shortlist.serve import logs, wire
from shortlist.serve.access import Access
from shortlist.serve.endpoint import JSON, MERGE_PATCH, Answer, Call, Endpoint
from shortlist.serve.frame import problem
from shortlist.serve.gathering import Gathering
from shortlist.serve.keys import Key
from shortlist.serve.problems import Refusal, refusal
from shortlist.serve.service import Service
from shortlist.serve.siblings import PASSED_ON, WRITER

log = logging.getLogger("shortlist.serve")

WAITING = 256  # requests that have arrived and wait for an answer before new ones are turned away
BODY_SECONDS = 30  # until a body must have arrived
GRACE = 0.05  # seconds past its deadline that a request which a worker has begun gets for its fallback


@dataclass
class Door:
    """Who may, how much, how long, and who has to come again."""

    service: Service
    access: Access
    workers: ThreadPoolExecutor
    waiting: int = 0
    gatherings: dict[str, Gathering[_Asked, Response]] = field(default_factory=dict)  # by path

    async def answer(self, endpoint: Endpoint, id: str, request: Request) -> Response:
        """The answer of `endpoint`, or a problem; `id` is the parameter in the path, percent-encoded."""
        try:
            return await self._answered(endpoint, id, request)
        except Exception as error:
            refused = refusal(error)
            if refused.code == "internal":
                log.error("request %s failed", request.scope["request_id"], exc_info=error)
            return problem(refused, request.scope)

    async def _answered(self, endpoint: Endpoint, id: str, request: Request) -> Response:
        settings = self.service.runtime.settings.serve
        passed_on = request.client is None and PASSED_ON in request.headers  # by a worker that has admitted it
        address = request.client.host if request.client else ""
        key = self.access.admit(endpoint, request.headers, address, counted=not passed_on)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal("malformed_body", "the body is compressed", hint="send it as it is, without Content-Encoding")
        body = await _body(request, settings.max_body * (10 if endpoint.larger else 1)) if endpoint.body else b""
        asked = _Asked(endpoint, id, request, key, body, perf_counter())
        if endpoint.quick:
            return _answer(self.service, self.access, asked)
        if self.waiting >= WAITING:
            raise Refusal("overloaded", f"{WAITING} requests are being answered already")
        # A question is given up when its time is over; what changes something is finished, and tells how it ended.
        seconds = settings.timeout_ms / 1000 if endpoint.scope in ("public", "read") else None
        self.waiting += 1
        try:
            if self.service.siblings is not None and not passed_on:
                return await self._shared(asked, seconds)
            return await self._worked(asked, seconds)
        except TimeoutError:
            raise Refusal("deadline_exceeded", "no answer was ready in time") from None
        finally:
            self.waiting -= 1

    async def _shared(self, asked: _Asked, seconds: float | None) -> Response:
        """The answer of the worker that has it: changes are for the one that writes, and what only the worker knows
        that answered before is asked of everyone."""
        siblings, endpoint, request = self.service.siblings, asked.endpoint, asked.request
        assert siblings is not None
        if not endpoint.local and not (endpoint.changes and siblings.number != WRITER):
            return await self._worked(asked, seconds)
        target = request.scope["raw_path"].decode("latin-1")
        if query := request.scope["query_string"].decode("latin-1"):
            target += f"?{query}"
        headers = {**request.headers, "X-Request-ID": request.scope["request_id"]}
        loop = asyncio.get_running_loop()

        async def other(number: int) -> Response:
            return await loop.run_in_executor(
                self.workers, siblings.ask, number, request.method, target, headers, asked.body
            )

        if endpoint.changes and siblings.number != WRITER:
            return await other(WRITER)
        try:
            return await self._worked(asked, seconds)
        except Exception as error:
            if refusal(error).code != "not_found":
                raise
            for number in siblings.others:
                with suppress(StoreError):
                    if (answer := await other(number)).status_code != 404:
                        return answer
            raise

    async def _worked(self, asked: _Asked, seconds: float | None) -> Response:
        """The answer of a worker, or of a group. TimeoutError after `seconds`, or earlier when the request says so; a
        worker that has not begun by then never begins, a group does, and leaves out the stages that are late."""
        endpoint, loop = asked.endpoint, asyncio.get_running_loop()
        async with asyncio.timeout(seconds) as limit:

            def reschedule(left: float) -> None:
                with suppress(RuntimeError):  # too late: it is over already
                    limit.reschedule(loop.time() + max(0.0, left) + GRACE)

            asked.hurry = lambda left: loop.call_soon_threadsafe(reschedule, left)
            if endpoint.together is None:
                return await loop.run_in_executor(self.workers, _answer, self.service, self.access, asked)
            if endpoint.path not in self.gatherings:
                answer, runtime = partial(_answers, self.service, self.access), self.service.runtime
                here = (lambda: runtime.at_hand) if endpoint.memory else (lambda: False)
                self.gatherings[endpoint.path] = Gathering(self.workers, answer, endpoint.most, here)
            return await self.gatherings[endpoint.path].ask(asked, len(asked.body))


@dataclass(slots=True)
class _Asked:
    """A request whose body has arrived, not decoded yet."""

    endpoint: Endpoint
    id: str  # in the path, percent-encoded
    request: Request
    key: Key | None
    body: bytes
    arrived: float  # perf_counter
    hurry: Callable[[float], object] | None = None  # is told how many seconds are left when the request itself says so

    def read(self, access: Access) -> Call:
        """Decoded and permitted, or a Refusal."""
        endpoint, request = self.endpoint, self.request
        query: dict[str, str] = {}
        if request.scope["query_string"]:
            for name, value in request.query_params.multi_items():
                if name in query:
                    raise Refusal("invalid_argument", f"{name!r} is given twice", pointer=f"/{name}")
                query[name] = value
        try:
            id = unquote(self.id, errors="strict")
        except UnicodeDecodeError:
            raise Refusal("invalid_argument", "the id in the path is not UTF-8, percent-encoded") from None
        body = wire.decode(self.body, endpoint.body) if endpoint.body else None
        asked = wire.parameters(query, endpoint.query)
        waited = perf_counter() - self.arrived
        call = Call(request.scope["request_id"], id, asked, body, request.headers, waited)
        access.permit(self.key, endpoint, call)
        if self.hurry is not None and (allowed := getattr(body, "deadline_ms", None)):
            self.hurry(allowed / 1000 - waited)
        return call


def _answer(service: Service, access: Access, asked: _Asked) -> Response:
    """Everything between the bytes of a body and the bytes of an answer."""
    call = asked.read(access)
    name = call.headers.get("idempotency-key") if asked.endpoint.once else None
    if name is None:
        return _said(service, asked.endpoint, call)
    request = asked.request
    who = f"{asked.key.id if asked.key else ''} {request.method} {request.url.path}?{request.url.query}"
    return service.once.answer(name, who, asked.body, lambda: _said(service, asked.endpoint, call))


def _answers(service: Service, access: Access, some: Sequence[_Asked]) -> Sequence[Response | Exception]:
    """`_answer` for requests to an endpoint that answers several together; one that is refused stops no other."""
    answers: dict[int, Response | Exception] = {}
    calls: dict[int, Call] = {}
    for at, asked in enumerate(some):
        try:
            calls[at] = asked.read(access)
        except Exception as error:
            answers[at] = error
    if calls:
        said = _said_together(service, some[0].endpoint, list(calls.values()))
        answers.update(zip(calls, said, strict=True))
    return [answers[at] for at in range(len(some))]


def _said(service: Service, endpoint: Endpoint, call: Call) -> Response:
    start = _begin(service, call)
    try:
        return _response(endpoint, endpoint.run(service, call))
    finally:
        _trace(service, endpoint, [call], perf_counter() - start)


def _said_together(service: Service, endpoint: Endpoint, calls: Sequence[Call]) -> Sequence[Response | Exception]:
    assert endpoint.together is not None
    start = _begin(service, calls[0])
    try:
        said = endpoint.together(service, calls)
    except Exception:
        if endpoint.changes or len(calls) == 1:
            raise
        return [_alone(service, endpoint, call) for call in calls]  # a question that breaks something breaks its own
    finally:
        _trace(service, endpoint, calls, perf_counter() - start)
    return [each if isinstance(each, Exception) else _response(endpoint, each) for each in said]


def _alone(service: Service, endpoint: Endpoint, call: Call) -> Response | Exception:
    try:
        return _response(endpoint, endpoint.run(service, call))
    except Exception as error:
        return error


def _begin(service: Service, call: Call) -> float:
    """The work for an answer begins: perf_counter."""
    service.runtime.follow()
    logs.REQUEST.set(call.request_id)
    return perf_counter()


def _trace(service: Service, endpoint: Endpoint, calls: Sequence[Call], seconds: float) -> None:
    """Spans of requests that were answered together, where spans are wanted."""
    if service.spans is None:
        return
    steps = service.steps()
    for call in calls:
        service.spans.request(
            endpoint.method, endpoint.path, call.headers, call.request_id, call.waited + seconds, steps
        )


def _response(endpoint: Endpoint, answer: Answer) -> Response:
    status, said, *headers = answer
    if isinstance(said, Response):
        return said
    if isinstance(said, Struct):
        said = msgspec.json.encode(said)
    response = Response(said, status, media_type=endpoint.media if said else None)
    for each in headers:
        response.headers.update(each)
    return response


async def _body(request: Request, limit: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    patched = request.method == "PATCH" and kind == MERGE_PATCH
    if kind != JSON and not patched:  # another type can be sent by any web page in the browser without asking first
        raise Refusal("malformed_body", f"the Content-Type is {kind or 'missing'}, expected {JSON}")
    length = request.headers.get("content-length", "")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if not (length.isdigit() and int(length) > limit):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        break
                else:
                    return bytes(body)
    except (TimeoutError, ClientDisconnect):
        raise Refusal("malformed_body", f"the body ended early or took more than {BODY_SECONDS} s") from None
    raise Refusal("too_large", f"the body has more than {limit:,} bytes")
