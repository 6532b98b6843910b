"""What every HTTP answer has in common, whatever was asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import perf_counter

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shortlist.errors import masked
from shortlist.serve.access import is_loopback
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import CODES, Refusal

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
            await send(message)

        self.metrics.active.inc()
        try:
            if refused := self._refused(headers):
                await problem(refused, scope)(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
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


def problem(refused: Refusal, scope: Scope) -> Response:
    """A refusal as the answer to the request of `scope`."""
    body = masked(msgspec.json.encode(refused.problem(scope["path"], scope["request_id"])).decode())
    headers = {"Retry-After": str(refused.after)} if CODES[refused.code].retryable else {}
    if refused.code == "unauthenticated":
        headers["WWW-Authenticate"] = 'Bearer realm="shortlist"'
    return Response(body, refused.status, headers, "application/problem+json")
