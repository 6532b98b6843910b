"""The HTTP door: one table of endpoints over one service, strict at the edge, busy in a few worker threads."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from secrets import token_hex

from starlette.requests import Request
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send
from threadpoolctl import threadpool_limits

from shortlist.config import Settings
from shortlist.errors import ConfigError
from shortlist.runtime import Runtime
from shortlist.serve import logs
from shortlist.serve.access import Access, is_loopback
from shortlist.serve.door import Door
from shortlist.serve.endpoint import Endpoint
from shortlist.serve.frame import Frame, problem
from shortlist.serve.keys import Keys
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import Refusal
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.service import Service
from shortlist.serve.stopping import server

log = logging.getLogger("shortlist.serve")

WORKERS = 4  # groups of requests worked on at once; arrays are computed outside the interpreter's lock
RETRY = 5.0  # seconds until work beside the answers that failed is tried again
PORTS = 50  # tried after the wanted one
_ID = re.compile(r"\\\{\w+\\\}")  # the parameter of a path whose other characters are escaped


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


def application(service: Service, *, poll: float = 0.25, ids: Callable[[], str] = lambda: token_hex(16)) -> ASGIApp:
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
    async def lifespan(app: object) -> AsyncIterator[None]:
        watching, keeping = asyncio.create_task(watch()), asyncio.create_task(keep_house())
        try:
            yield
        finally:
            watching.cancel()
            keeping.cancel()
            keeper.shutdown()
            workers.shutdown()

    routes = _Routes(ENDPOINTS, Door(service, access, workers), lifespan)
    return Frame(routes, service.metrics, ids, anyone=not access.required)


class _Routes:
    """Finds the endpoint of a request: one look for a plain path, which a framework's list of patterns would not be."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        door: Door,
        lifespan: Callable[[object], AbstractAsyncContextManager[None]],
    ) -> None:
        self.door, self.lifespan = door, Router(lifespan=lifespan).lifespan
        self.plain: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, dict[str, Endpoint]] = {}
        for each in endpoints:
            of = patterns if "{" in each.path else self.plain
            of.setdefault(each.path, {})[each.method] = each
        self.patterns = [(re.compile(_ID.sub("([^/]+)", re.escape(path))), each) for path, each in patterns.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.lifespan(scope, receive, send)
            return
        method = "GET" if scope["method"] == "HEAD" else scope["method"]  # a GET whose body stays here
        allowed: list[str] = []
        for methods, id in self._at(scope["path"]):
            if endpoint := methods.get(method):
                scope["label"] = endpoint.path
                response = await self.door.answer(endpoint, id, Request(scope, receive))
                break
            allowed += methods
        else:
            response = problem(_unrouted(scope, allowed), scope)
            if allowed:
                response.headers["Allow"] = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else [])])
        await response(scope, receive, send)

    def _at(self, path: str) -> Iterator[tuple[Mapping[str, Endpoint], str]]:
        """The endpoints at a path, by method, and the id in it; several where an id may look like a verb."""
        if path in self.plain:
            yield self.plain[path], ""
        for pattern, methods in self.patterns:
            if found := pattern.fullmatch(path):
                yield methods, found[1]


def _unrouted(scope: Scope, allowed: Sequence[str]) -> Refusal:
    path = scope["path"][:200]
    if allowed:
        return Refusal("method_not_allowed", f"{path} does not know {scope['method']}")
    return Refusal("not_found", f"there is nothing at {path}")
