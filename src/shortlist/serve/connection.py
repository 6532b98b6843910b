"""One TCP connection: uvicorn's own, without patience for heads that never end and for clients that take no answer."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10  # until the line and the headers of a request must have arrived
HEAD_BYTES = 65_536  # that they may have
SEND_SECONDS = 30  # until the client must have taken a part of an answer
CLOSING = "shortlist.closing"  # in the scope of a request: the server stops


class Connection(HttpToolsProtocol):
    """uvicorn bounds neither a head nor the time that it and an answer take; this one closes the connection."""

    _timer: TimerHandle | None = None
    _stalled: TimerHandle | None = None
    _size = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.access_log = False  # whoever configures logging: addresses hold ids of people
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        self._flowing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begin()

    def on_headers_complete(self) -> None:
        self._end()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._timer is not None:
            self._size += len(data)
            if self._size > HEAD_BYTES:
                self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        self._flowing()
        super().resume_writing()

    def shutdown(self) -> None:
        """The server stops: tell the request that is being answered, should it never end by itself."""
        if self.cycle is not None:
            cast(dict[str, Any], self.cycle.scope)[CLOSING] = True
        super().shutdown()

    def _begin(self) -> None:
        self._end()
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end(self) -> None:
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flowing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
