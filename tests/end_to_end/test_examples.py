"""The answers in docs/reference/http.md are real ones: every request of the page is sent, in the order of the page.

    WRITE_EXAMPLES=1 pytest tests/end_to_end/test_examples.py      writes the page anew

What differs from run to run is made equal (times a computer took, names drawn by lot), numbers are rounded, and lists
are cut after two entries.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from shortlist.config import Settings
from shortlist.errors import ReleaseError
from shortlist.pipeline import FilterFailed
from shortlist.runtime import Runtime
from shortlist.serve.http import address, application, listen, server
from shortlist.serve.metrics import Metrics
from shortlist.serve.openapi import document
from shortlist.serve.problems import CODES, Refusal
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.service import Service
from shortlist.stores.database import failure

CONTRACT: dict[str, Any] = json.loads(json.dumps(document(ENDPOINTS)))
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"
NOW = 1_767_355_200_000_000  # 2026-01-02T12:00:00Z
EXAMPLE = re.compile(r"```http\n(?P<asked>.*?)```\n(?:\n```json\n(?P<told>.*?)```\n)?", re.DOTALL)
PROBLEM = re.compile(r"### `(?P<code>\w+)`\n\n```http\n(?P<asked>.*?)```\n\n```json\n(?P<told>.*?)```\n", re.DOTALL)
ERRORS = "## Errors\n"
SAME = {
    "timing_ms": 2.1,
    "ms": 0.4,
    "seconds": 0.4,
    "age_s": 1.0,
    "pid": 4711,
    "remembered_bytes": 4096,
    "next_cursor": "kYv1n4…",
    "operation": "8b6c2f0de1a94735b0c7a1d2e3f40516",
}
PATTERNS = (
    (re.compile(r"\b(\d{4}-\d\d-\d\dT\d{6})-[0-9a-f]{8}\b"), r"\1-319531ef"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "9f86d081884c7d65…"),
    (re.compile(r"\b4a27c1d0\b"), "4a27…"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"), "2026-01-02T12:00:00.000+00:00"),
    (re.compile(r"\d+(\.\d+)? ms\b"), "2 ms"),
)
WIDTH, ENTRIES = 120, 2


@contextmanager
def session(settings: Settings) -> Iterator[tuple[httpx.Client, Service]]:
    """A server whose clock stands still and whose request ids are all the same."""
    with Runtime.open(settings, clock=lambda: NOW) as runtime, listen("127.0.0.1", 0) as listening:
        service = Service(runtime, Metrics())
        running = server(application(service, ids=lambda: "4a27c1d0"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=address(listening), timeout=30) as client:
                yield client, service
        finally:
            running.should_exit = True
            thread.join()


def send(client: httpx.Client, asked: str) -> httpx.Response:
    """The request as it stands in the block: method and path, headers, an empty line, the body."""
    head, _, body = asked.strip().partition("\n\n")
    (method, path), *lines = (line.split(maxsplit=1) for line in head.splitlines())
    headers = {"Content-Type": "application/json"} if body else {}
    headers |= {name.rstrip(":"): value for name, value in lines}
    return client.request(method, path, headers=headers, content=body.strip() or None)


def fits_the_contract(asked: str, answer: httpx.Response) -> None:
    """The answer is one that /openapi.json promises for this request."""
    method, path = asked.split(maxsplit=2)[:2]
    path = path.partition("?")[0]
    for template, methods in CONTRACT["paths"].items():
        if method.lower() in methods and re.fullmatch(re.sub(r"{\w+}", "[^/]+?", template), path):
            responses = methods[method.lower()]["responses"]
            promised = responses["default"] if answer.is_error else responses[str(answer.status_code)]
            if answer.content:
                (media,) = promised["content"].values()
                Draft202012Validator({**media["schema"], "components": CONTRACT["components"]}).validate(answer.json())
            return
    assert answer.status_code in (404, 405), asked


def settled(value: Any, key: str = "") -> Any:
    """`value` as it is in every run."""
    if key in SAME and value is not None:
        return SAME[key]
    if isinstance(value, dict):
        return {name: settled(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [settled(each) for each in value[:ENTRIES]]
    if isinstance(value, float):
        return float(f"{value:.2g}" if abs(value) < 100 else f"{value:.4g}")
    if isinstance(value, str):
        for pattern, same in PATTERNS:
            value = pattern.sub(same, value)
    return value


def laid_out(value: Any, indent: int = 0) -> str:
    """JSON in lines of a readable width: what fits into one line stands in one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    pad = " " * (indent + 2)
    if isinstance(value, list):
        inner = [laid_out(each, indent + 2) for each in value]
    else:
        inner = [f"{json.dumps(name)}: {laid_out(each, indent + 2)}" for name, each in value.items()]
    begin, end = "[]" if isinstance(value, list) else "{}"
    return f"{begin}\n" + ",\n".join(pad + each for each in inner) + f"\n{' ' * indent}{end}"


def told(answer: httpx.Response) -> str:
    return laid_out(settled(answer.json())) + "\n"


def test_the_answers_on_the_page_are_those_of_the_server(installation: Settings) -> None:
    text = PAGE.read_text("utf-8")
    body, errors = text.split(ERRORS)
    with session(installation) as (client, service):

        def example(match: re.Match[str]) -> str:
            answer = send(client, match["asked"])
            while (
                match["asked"].startswith("GET") and '"status":"running"' in answer.text
            ):  # what it began takes a while
                answer = send(client, match["asked"])
            assert answer.is_success, (match["asked"], answer.text)
            fits_the_contract(match["asked"], answer)
            assert (match["told"] is None) == (answer.status_code == 204), match["asked"]
            return match[0] if match["told"] is None else match[0].replace(match["told"], told(answer))

        def refused(match: re.Match[str]) -> str:
            with made_to_fail(match["code"], service):
                answer = send(client, match["asked"])
            assert answer.json()["code"] == match["code"], (match["asked"], answer.text)
            assert answer.status_code == CODES[match["code"]].status
            fits_the_contract(match["asked"], answer)
            return match[0].replace(match["told"], told(answer))

        written = EXAMPLE.sub(example, body) + ERRORS + PROBLEM.sub(refused, errors)
    if os.environ.get("WRITE_EXAMPLES"):
        PAGE.write_text(written, "utf-8")
    assert written == text, "write it anew with: WRITE_EXAMPLES=1 pytest tests/end_to_end/test_examples.py"


def test_every_endpoint_and_every_code_has_an_example() -> None:
    body, errors = PAGE.read_text("utf-8").split(ERRORS)
    sections = dict(re.findall(r"^### `([^`]+)`\n(.*?)(?=^##|\Z)", body, re.M | re.S))
    for endpoint in ENDPOINTS:
        if "/v1/" in endpoint.path or endpoint.quick:
            name = f"{endpoint.method} {endpoint.path}"
            assert "```" in sections[name], name
    assert {match["code"] for match in PROBLEM.finditer(errors)} == set(CODES)


FAULTS: dict[str, Callable[[], Exception]] = {
    "internal": lambda: ZeroDivisionError("planted"),
    "storage_full": lambda: failure(OSError(28, "No space left on device"), Path("shortlist-data/store")),
    "dependency_unavailable": lambda: FilterFailed("filter available: OSError: the catalogue does not answer"),
    "gate_failed": lambda: ReleaseError("0003.npy has another size or SHA-256", where="2026-01-01T000000-319531ef"),
    "overloaded": lambda: Refusal("overloaded", "256 requests are being answered already"),
    "deadline_exceeded": lambda: Refusal("deadline_exceeded", "no answer was ready in time"),
    "too_large": lambda: Refusal("too_large", "the body has more than 1,000,000 bytes"),
    "rate_limited": lambda: Refusal("rate_limited", "more than 50 requests a second of one key", after=1),
    "unauthenticated": lambda: Refusal("unauthenticated", "no key was sent"),
    "conflict": lambda: Refusal("conflict", "the request with this Idempotency-Key is still being worked on"),
}
"""What a healthy server on loopback does not say by itself."""


@contextmanager
def made_to_fail(code: str, service: Service) -> Iterator[None]:
    """While the block runs, requests end in the fault that belongs to `code`, if it takes one."""
    if code not in FAULTS:
        yield
        return

    def fail(*given: Any, **named: Any) -> Any:
        raise FAULTS[code]()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "recommend", fail)
        yield
