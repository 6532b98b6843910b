"""uvicorn's server, stopping so that no client loses an answer."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from types import FrameType

import uvicorn

from shortlist.serve.connection import Connection

LINGER = 0.5  # seconds between being told to stop and closing the door, and again for those who just came in


class Server(uvicorn.Server):
    """Told to stop (SIGTERM), it first says so: `leaving` is called, `readyz` is false, and every answer closes its
    connection, so that clients and balancers go elsewhere by themselves. Then it takes no more connections, finishes
    what it began, 10 seconds at most in all, and returns. An interrupt from a terminal skips the first part.
    """

    def __init__(self, config: uvicorn.Config, leaving: Callable[[], None], *, shared: bool) -> None:
        super().__init__(config)
        self._shared = shared  # others take connections from the same sockets
        self._leaving = leaving
        self._until = 0.0  # monotonic; 0 = nobody told it to stop

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)
        elif self._until:
            self.should_exit = True
        else:
            self._until = monotonic() + LINGER
            self._leaving()

    async def on_tick(self, counter: int) -> bool:
        ended = await super().on_tick(counter)
        headers = self.server_state.default_headers
        if self._until and (b"connection", b"close") not in headers:
            self.server_state.default_headers = [*headers, (b"connection", b"close")]
        return ended or bool(self._until and monotonic() > self._until)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._until:
            last = [each.dup() for each in sockets or []]
            for listening in last:
                if not self._shared:
                    close_door(listening)
            for each in self.servers:
                each.close()
            await asyncio.sleep(0)
            for listening in last:
                await self._let_in(listening)
                listening.close()
            until = monotonic() + LINGER
            while self.server_state.connections and monotonic() < until:  # an answer ends its connection
                await asyncio.sleep(LINGER / 50)
        await super().shutdown(sockets)

    async def _let_in(self, listening: socket.socket) -> None:
        """Whoever is in the queue of a socket that nobody accepts from any more."""
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                accepted, _ = listening.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(self._protocol, accepted)

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def close_door(listening: socket.socket) -> None:
    """Let nobody else into the queue of a socket; who is in it already can be let in before it is closed."""
    listening.listen(0)


def server(app: object, leaving: Callable[[], None] = lambda: None, *, shared: bool = False) -> Server:
    """A server of the ASGI application `app`; it leaves logging to the program. `shared`: its sockets have others."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        lifespan="on",
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=8,
    )
    return Server(config, leaving, shared=shared)
