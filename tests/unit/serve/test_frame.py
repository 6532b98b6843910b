"""What surrounds every request, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shortlist.serve.frame import Frame
from shortlist.serve.metrics import Metrics


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("fine")(scope, receive, send)


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a bug")


def ask(frame: Frame, host: bytes = b"localhost") -> dict[str, Any]:
    """Status, headers and body of a GET."""
    answer: dict[str, Any] = {"body": b""}

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        answer["status"] = message.get("status", answer.get("status"))
        answer["headers"] = dict(message.get("headers", [])) or answer.get("headers")
        answer["body"] += message.get("body", b"")

    scope = {"type": "http", "method": "GET", "raw_path": b"/a%2Fb", "path": "/a/b", "headers": [(b"host", host)]}
    asyncio.run(frame(scope, receive, send))
    return answer


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:80", b"127.0.0.1:8000", b"127.1.2.3", b"[::1]:8000"])
def test_loopback_names_are_let_in(host: bytes) -> None:
    answer = ask(Frame(plain, Metrics(), lambda: "id 1"), host)
    assert (answer["status"], answer["body"], answer["headers"][b"x-request-id"]) == (200, b"fine", b"id 1")


@pytest.mark.parametrize(
    "host", [b"", b"evil", b"10.0.0.1", b"localhost.evil", b"127.0.0.1@evil", b"::1", b"[::2]", b"localhost:x"]
)
def test_other_names_are_not(host: bytes) -> None:
    assert ask(Frame(plain, Metrics(), lambda: "r"), host)["status"] == 403


def test_where_a_key_is_needed_any_name_will_do() -> None:
    frame = Frame(plain, Metrics(), lambda: "r", anyone=False)
    assert ask(frame, b"shop.example:8000")["status"] == 200
    assert ask(frame, b"shop.example@evil/")["status"] == 200
    assert ask(frame, b"")["status"] == 403


def test_a_failure_is_counted_and_frees_its_place() -> None:
    frame = Frame(broken, Metrics(), lambda: "r")
    with pytest.raises(RuntimeError, match="a bug"):
        ask(frame)
    assert frame.metrics.registry.get_sample_value("http_server_active_requests") == 0
    labels = {"method": "any", "route": "unknown", "status": "500"}
    assert frame.metrics.registry.get_sample_value("http_server_request_duration_seconds_count", labels) == 1
