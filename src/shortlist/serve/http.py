"""The HTTP door: one table of endpoints over one service, strict at the edge, busy in a few worker threads."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from urllib.parse import unquote
from uuid import uuid4

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from threadpoolctl import threadpool_limits

from shortlist.config import Settings
from shortlist.errors import ConfigError, StoreError, masked
from shortlist.runtime import Runtime
from shortlist.serve import logs, wire
from shortlist.serve.access import Access, is_loopback
from shortlist.serve.endpoint import JSON, MERGE_PATCH, Answer, Call, Endpoint
from shortlist.serve.gathering import Gathering
from shortlist.serve.keys import Key, Keys
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import CODES, Refusal, refusal
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.service import Service
from shortlist.serve.siblings import PASSED_ON, WRITER
from shortlist.serve.stopping import server

log = logging.getLogger("shortlist.serve")

WORKERS = 4  # requests worked on at once; arrays are computed outside the interpreter's lock
WAITING = 256  # requests that have arrived and wait for an answer before new ones are turned away
RETRY = 5.0  # seconds until work beside the answers that failed is tried again
BODY_SECONDS = 30  # until a body must have arrived
SEND_SECONDS = 30  # until the client must have taken a part of an answer
GRACE = 0.05  # seconds past its deadline that a request which a worker has begun gets for its fallback
PORTS = 50  # tried after the wanted one
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_OWN = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in HEADERS.items()}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::[0-9]+)?")


def serve(
    settings: Settings,
    *,
    port: int | None = None,
    next_free: bool = False,
    announce: Callable[[str, Runtime], None] = lambda url, runtime: None,
) -> None:
    """Answer until interrupted. `announce` is told the address once connections are accepted.

    `next_free` takes the next free port when the wanted one is taken; otherwise that is an OSError (EADDRINUSE).
    """
    guard(settings)
    with (
        listen(settings.serve.host, settings.serve.port if port is None else port, next_free=next_free) as listening,
        Runtime.open(settings) as runtime,
        threadpool_limits(1),  # one core a request: BLAS threads that wait for each other are what makes a tail long
    ):
        announce(address(listening), runtime)
        logs.configure()
        service = Service(runtime, Metrics())
        try:
            server(application(service), service.leave).run(sockets=[listening])
        finally:
            service.close()


def guard(settings: Settings) -> None:
    """ConfigError when others on the network could come in without a key."""
    now = datetime.now(UTC)
    if is_loopback(settings.serve.host) or any(key.state(now) == "valid" for key in Keys(settings.keys_path).all()):
        return
    raise ConfigError(
        f"{settings.serve.host!r} would let others on the network in, and there is no key that they could show",
        where="serve.host",
        hint='make one: shortlist keys create --name NAME --scope read; or use host = "127.0.0.1"',
    )


def listen(host: str, port: int, *, next_free: bool = False) -> socket.socket:
    """A socket that accepts connections at an address; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = min(port + PORTS, 65_535) if next_free and port else port
    for each in range(port, last + 1):
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, each))
            listening.listen(2048)
            return listening
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE or each == last:
                raise
    raise AssertionError("a port was bound, or an error raised")


def address(listening: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def application(service: Service, *, poll: float = 1.0, ids: Callable[[], str] = lambda: uuid4().hex) -> Starlette:
    """The ASGI application. `poll` is how often, in seconds, a newly published release is looked for."""
    workers = ThreadPoolExecutor(WORKERS, "shortlist-worker")
    keeper = ThreadPoolExecutor(1, "shortlist-keeper")
    access = Access(service.runtime.settings, service.runtime.clock)

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        runtime, refused = service.runtime, ""
        while True:
            await asyncio.sleep(poll)
            try:
                if await loop.run_in_executor(workers, runtime.refresh):
                    log.info("serving release %s", runtime.release.version)
                elif runtime.refused != refused:
                    refused = runtime.refused
                    log.error("not swapped: %s", refused)
            except Exception:
                log.exception("looking for a new release failed")

    async def keep_house() -> None:
        loop = asyncio.get_running_loop()
        while True:
            pause = poll
            try:
                if not service.runtime.read_only:
                    await loop.run_in_executor(keeper, service.privacy.work)
            except Exception as error:
                pause = max(poll, RETRY)
                log.error("erasing what was asked for, or is too old, is tried again: %s", error)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        watching, keeping = asyncio.create_task(watch()), asyncio.create_task(keep_house())
        try:
            yield
        finally:
            watching.cancel()
            keeping.cancel()
            keeper.shutdown()
            workers.shutdown()

    door = _Door(service, access, workers)
    paths: dict[str, dict[str, Endpoint]] = {}
    for endpoint in sorted(ENDPOINTS, key=lambda each: "{" in each.path):  # plain paths first: they match at once
        paths.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    app = Starlette(
        routes=[Route(path, door.handler(methods), methods=[*methods]) for path, methods in paths.items()],
        middleware=[Middleware(Frame, metrics=service.metrics, ids=ids, anyone=not access.required)],
        exception_handlers={HTTPException: _unrouted},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class Frame:
    """Around every request: its id, the name it was sent to, its time, and the headers of every answer.

    Unless `anyone` may ask without a key, it does not matter by which name: a page that a browser was led to under a
    foreign name has no key to show.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, ids: Callable[[], str], *, anyone: bool = True) -> None:
        self.app, self.metrics, self.ids, self.anyone = app, metrics, ids, anyone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["request_id"] = request_id = given if _REQUEST_ID.fullmatch(given) else self.ids()
        scope["path"] = scope["raw_path"].decode("latin-1")  # still percent-encoded: an id may hold a slash
        scope["label"] = "unknown"
        status, start = 500, perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [each for each in message["headers"] if each[0] not in _OWN]
                message["headers"] = [*own, (b"x-request-id", request_id.encode("latin-1")), *_OWN.items()]
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        self.metrics.active.inc()
        try:
            if refused := self._refused(headers):
                await _problem(refused, scope)(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        except TimeoutError:
            log.info("request %s: the client took no more of its answer", request_id)
        finally:
            self.metrics.active.dec()
            method = scope["method"] if scope["label"] != "unknown" else "any"
            self.metrics.answer(method, scope["label"], status, perf_counter() - start)

    def _refused(self, headers: Headers) -> Refusal | None:
        host = _HOST.fullmatch(headers.get("host", ""))
        if host is None or (self.anyone and not is_loopback(host["name"].strip("[]"))):
            return Refusal(
                "permission_denied",
                f"this server does not go by the name {headers.get('host', '')[:100]!r}",
                hint='ask through its loopback address, or set [serve] keys = "required"',
            )
        return None


@dataclass
class _Door:
    """From requests to answers: who may, how much, how long, and who has to come again."""

    service: Service
    access: Access
    workers: ThreadPoolExecutor
    waiting: int = 0
    gatherings: dict[str, Gathering[_Asked, Response]] = field(default_factory=dict)  # by path

    def handler(self, methods: Mapping[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
        """What answers requests to one path."""

        async def handle(request: Request) -> Response:
            endpoint = methods.get(request.method) or methods["GET"]  # HEAD is a GET whose body stays here
            request.scope["label"] = endpoint.path
            try:
                return await self._answered(endpoint, request)
            except Exception as error:
                refused = refusal(error)
                if refused.code == "internal":
                    log.error("request %s failed", request.scope["request_id"], exc_info=error)
                return _problem(refused, request.scope)

        return handle

    async def _answered(self, endpoint: Endpoint, request: Request) -> Response:
        settings = self.service.runtime.settings.serve
        passed_on = request.client is None and PASSED_ON in request.headers  # by a worker that has admitted it
        address = request.client.host if request.client else ""
        key = self.access.admit(endpoint, request.headers, address, counted=not passed_on)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal("malformed_body", "the body is compressed", hint="send it as it is, without Content-Encoding")
        body = await _body(request, settings.max_body * (10 if endpoint.larger else 1)) if endpoint.body else b""
        asked = _Asked(endpoint, request, key, body, perf_counter())
        if endpoint.quick:
            return _answer(self.service, self.access, asked, lambda seconds: None)
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
            if not endpoint.local or refusal(error).code != "not_found":
                raise
            for number in siblings.others:
                with suppress(StoreError):
                    if (answer := await other(number)).status_code != 404:
                        return answer
            raise

    async def _worked(self, asked: _Asked, seconds: float | None) -> Response:
        """The answer of a worker. TimeoutError after `seconds`, or earlier when the request says so; a worker that has
        not begun by then never begins."""
        if asked.endpoint.together is not None:
            return await self._gathered(asked)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds) as limit:

            def reschedule(left: float) -> None:
                with suppress(RuntimeError):  # too late: it is over already
                    limit.reschedule(loop.time() + max(0.0, left) + GRACE)

            def hurry(left: float) -> None:
                loop.call_soon_threadsafe(reschedule, left)

            return await loop.run_in_executor(self.workers, _answer, self.service, self.access, asked, hurry)

    async def _gathered(self, asked: _Asked) -> Response:
        """The answer of a worker to all who ask the same endpoint at this moment."""
        path = asked.endpoint.path
        if path not in self.gatherings:
            self.gatherings[path] = Gathering(self.workers, partial(_answers, self.service, self.access))
        return await self.gatherings[path].ask(asked, len(asked.body))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request whose body has arrived, not decoded yet."""

    endpoint: Endpoint
    request: Request
    key: Key | None
    body: bytes
    arrived: float  # perf_counter

    def read(self) -> Call:
        """Decoded, or a Refusal."""
        endpoint, request = self.endpoint, self.request
        query: dict[str, str] = {}
        for name, value in request.query_params.multi_items():
            if name in query:
                raise Refusal("invalid_argument", f"{name!r} is given twice", pointer=f"/{name}")
            query[name] = value
        try:
            id = unquote(next(iter(request.path_params.values()), ""), errors="strict")
        except UnicodeDecodeError:
            raise Refusal("invalid_argument", "the id in the path is not UTF-8, percent-encoded") from None
        body = wire.decode(self.body, endpoint.body) if endpoint.body else None
        asked = wire.parameters(query, endpoint.query)
        waited = perf_counter() - self.arrived
        return Call(request.scope["request_id"], id, asked, body, request.headers, waited)


def _answer(service: Service, access: Access, asked: _Asked, hurry: Callable[[float], None]) -> Response:
    """Everything between the bytes of a body and the bytes of an answer. `hurry` is told how many seconds are left when
    the request itself says so."""
    call = asked.read()
    access.permit(asked.key, asked.endpoint, call)
    if allowed := getattr(call.body, "deadline_ms", None):
        hurry(allowed / 1000 - call.waited)
    name = call.headers.get("idempotency-key") if asked.endpoint.once else None
    if name is None:
        return _said(service, asked.endpoint, call)
    request = asked.request
    who = f"{asked.key.id if asked.key else ''} {request.method} {request.url.path}?{request.url.query}"
    return service.once.answer(name, who, asked.body, lambda: _said(service, asked.endpoint, call))


def _said(service: Service, endpoint: Endpoint, call: Call) -> Response:
    start = perf_counter()
    service.runtime.follow()
    logs.REQUEST.set(call.request_id)
    try:
        return _response(endpoint, endpoint.run(service, call))
    finally:
        _trace(service, endpoint, [call], perf_counter() - start)


def _trace(service: Service, endpoint: Endpoint, calls: Sequence[Call], seconds: float) -> None:
    """Spans of requests that were answered together, where spans are wanted."""
    if service.spans is None:
        return
    steps = service.steps()
    for call in calls:
        service.spans.request(
            endpoint.method, endpoint.path, call.headers, call.request_id, call.waited + seconds, steps
        )


def _answers(service: Service, access: Access, some: Sequence[_Asked]) -> Sequence[Response | Exception]:
    """`_answer` for requests to an endpoint that answers several together; one that is refused stops no other."""
    answers: dict[int, Response | Exception] = {}
    calls: dict[int, Call] = {}
    for at, asked in enumerate(some):
        try:
            call = asked.read()
            access.permit(asked.key, asked.endpoint, call)
            calls[at] = call
        except Exception as error:
            answers[at] = error
    if calls:
        endpoint = some[0].endpoint
        assert endpoint.together is not None
        start = perf_counter()
        service.runtime.follow()
        logs.REQUEST.set(next(iter(calls.values())).request_id)
        for at, answer in zip(calls, endpoint.together(service, list(calls.values())), strict=True):
            answers[at] = _response(endpoint, answer)
        _trace(service, endpoint, list(calls.values()), perf_counter() - start)
    return [answers[at] for at in range(len(some))]


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


async def _unrouted(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"][:200], request.method
    if error.status_code == 405:
        refused = Refusal("method_not_allowed", f"{path} does not know {method}")
    else:
        refused = Refusal("not_found", f"there is nothing at {path}")
    response = _problem(refused, request.scope)
    response.headers.update(error.headers or {})
    return response


def _problem(refused: Refusal, scope: Scope) -> Response:
    body = masked(msgspec.json.encode(refused.problem(scope["path"], scope["request_id"])).decode())
    headers = {"Retry-After": str(refused.after)} if CODES[refused.code].retryable else {}
    if refused.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="shortlist"'
    return Response(body, refused.status, headers, "application/problem+json")
