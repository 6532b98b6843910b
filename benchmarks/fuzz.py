"""The HTTP door against requests made from its own contract, allowed ones and forbidden ones.

    python -m benchmarks.fuzz --cases 10000 --json benchmarks/results/fuzz.json

Starts a server over a small generated world and sends cases that Schemathesis makes from /openapi.json: a third is
allowed by the schema, a third breaks it in one place, a third is an allowed body whose bytes were damaged. A finding
is an answer of 5xx, an answer that its schema does not allow, or a 2xx for what the schema forbids. Same seed, same
cases. Endpoints that appear in the contract are part of the next run. Exit code 1 when there are findings.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any, TypeAlias

import hypothesis
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from benchmarks.rows import Row, write
from shortlist.batch.steps import make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.data.frames import load_frames
from shortlist.data.world import generate
from shortlist.release import publish
from shortlist.runtime import Runtime
from shortlist.serve.http import address, application, listen, server
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
KINDS = ("allowed", "forbidden", "damaged")
STREAM = "text/event-stream"  # an answer that does not end is not read to its end
SECONDS = 30  # for one answer
Known: TypeAlias = Mapping[str, Sequence[str]]
"""Ids that exist, by what has them."""


@dataclass
class Outcome:
    """What happened: cases by kind, statuses by operation, findings in words."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.cases.total()

    def add(self, operation: str, kind: str, status: int, found: str) -> None:
        self.cases[kind] += 1
        self.statuses.setdefault(operation, Counter())[status] += 1
        if found:
            self.findings.append(found)


def run(settings: Settings, cases: int, seed: int) -> Outcome:
    """At least `cases` cases against a server over the installation of `settings`, which they change."""
    patient = replace(settings, serve=replace(settings.serve, timeout_ms=SECONDS * 1000))  # how fast is not asked here
    outcome = Outcome()
    with _serving(patient) as url, requests.Session() as session:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        schema.config.generation.update(with_security_parameters=False)
        known = {name: _some_of(session, f"{url}/v1/{name}s") for name in ("item", "user", "release", "scenario")}
        schema.config.checks.negative_data_rejection.expected_statuses = ["4xx"]
        operations = [each.ok() for each in schema.get_all_operations()]
        left = [(each, kind) for each in operations for kind in (KINDS if each.body else KINDS[:2])]
        turn = 0
        while left and outcome.total < cases:  # some have fewer different cases than their share
            weights = [_weight(operation) for operation, _ in left]
            wanted, more = cases - outcome.total, []
            for (operation, kind), weight in zip(left, weights, strict=True):
                size = min(max(1, round(wanted * weight / sum(weights))), cases - outcome.total)
                if size and _some(operation, kind, size, f"{seed} {turn}", url, session, known, outcome) == size:
                    more.append((operation, kind))
            left, turn = more, turn + 1
    return outcome


def _weight(operation: Any) -> int:
    """Operations with more to get wrong are asked more often."""
    return 8 if operation.body else 2 if operation.path_parameters or operation.query else 1


def _some_of(session: requests.Session, address: str) -> list[str]:
    """Ids or names of what a list of the API holds."""
    (entries,) = (each for each in session.get(address).json().values() if isinstance(each, list))
    return [str(each.get("id") or each.get("name") or each.get("version")) for each in entries[:20]]


def _some(
    operation: Any,
    kind: str,
    size: int,
    seed: str,
    url: str,
    session: requests.Session,
    known: Known,
    outcome: Outcome,
) -> int:
    """Up to `size` cases of one operation; how many. Half of those that are allowed ask for what is there."""
    mode = schemathesis.GenerationMode.NEGATIVE if kind == "forbidden" else schemathesis.GenerationMode.POSITIVE
    strategy = operation.as_strategy(generation_mode=mode)
    before = outcome.total
    chance = random.Random(f"{seed} {operation.label} {kind}")

    @hypothesis.seed(chance.getrandbits(64))
    @hypothesis.settings(
        max_examples=size,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def each(case: Any) -> None:
        if kind != "forbidden" and chance.random() < 0.5:
            about = next((name for name in known if f"/{name}s" in operation.path), "item")
            if case.path_parameters and (case.method == "GET" or about != "release"):  # a gate takes seconds
                case.path_parameters = dict.fromkeys(case.path_parameters, chance.choice(known[about]))
            case.body = _with_known(case.body, known, chance)
        sent = case.as_transport_kwargs(base_url=url)
        if kind == "damaged":
            sent = _damaged(sent, chance)
        answer = session.request(**sent, stream=True, timeout=SECONDS)
        outcome.add(operation.label, kind, answer.status_code, _finding(case, kind, answer, sent))
        answer.close()

    with suppress(hypothesis.errors.Unsatisfiable):  # nothing is forbidden here
        each()
    return outcome.total - before


def _with_known(body: Any, known: Known, chance: random.Random) -> Any:
    """The body with ids of people and things that exist."""
    if isinstance(body, dict):
        return {
            name: chance.choice(known[name.removesuffix("_id")])
            if name in ("user_id", "item_id", "scenario")
            else _with_known(each, known, chance)
            for name, each in body.items()
        }
    return [_with_known(each, known, chance) for each in body] if isinstance(body, list) else body


def _finding(case: Any, kind: str, answer: requests.Response, sent: dict[str, Any]) -> str:
    """What is wrong with an answer, "" = nothing."""
    if answer.headers.get("Content-Type", "").startswith(STREAM):
        return ""
    told = kind == "forbidden" and not _refused_inside(answer)
    checks = [each for each in CHECKS if told or each is not negative_data_rejection]
    try:
        case.validate_response(answer, checks=checks)
    except FailureGroup as failed:
        wrong = "; ".join(f"{each.title}: {each.message}" for each in failed.exceptions)
        body = sent.get("data") or sent.get("json") or ""
        request = f"{answer.request.method} {answer.request.url}"
        return f"{kind}: {request} {str(body)[:500]} -> {answer.status_code} {answer.text[:300]}\n    {wrong[:800]}"
    return ""


def _refused_inside(answer: requests.Response) -> bool:
    """Whether one of several results says that its part of the request was refused."""
    try:
        results = answer.json()["results"]
    except (ValueError, KeyError, TypeError):
        return False
    return any(each.get("result") == "rejected" or each.get("status", 200) >= 400 for each in results)


def _damaged(sent: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """The request with a few bytes of its body cut, changed, doubled or put in."""
    whole = requests.Request("POST", sent["url"], data=sent.get("data"), json=sent.get("json")).prepare().body or b""
    body = bytearray(whole.encode() if isinstance(whole, str) else whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(body) + 1)
        match chance.randrange(4):
            case 0:
                del body[at:]
            case 1:
                body[at : at + 1] = chance.randbytes(1)
            case 2:
                body[at:at] = body[at : at + chance.randint(1, 40)]
            case _:
                body[at:at] = chance.choice([b"[" * 2000, b"\xff", b"\\ud800", b"1e999", b"NaN", b"-", b"\x00", b'"'])
    kept = {name: each for name, each in sent.items() if name not in ("json", "data")}
    return {**kept, "data": bytes(body)}


@contextmanager
def _serving(settings: Settings) -> Iterator[str]:
    """The address of a server in this process."""
    with Runtime.open(settings) as runtime, listen("127.0.0.1", 0) as listening:
        running = server(application(Service(runtime, Metrics())))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address(listening)
        finally:
            running.should_exit = True
            thread.join()


def prepare(home: Path) -> Settings:
    """A small generated world, trained and published, below `home`."""
    settings = parse({}, home=home)
    with open_configured(settings) as stores:
        now = time_ns() // 1000
        frames = generate(users=60, items=90, events=2_000, now=now).frames
        load_frames(frames, stores.catalog, stores.log, kinds=settings.kinds, now=now, rejects=home / "rejects")
        data = read_window(settings, stores.catalog, stores.log)
        version, _ = make_release(settings, data, stores, created=datetime.now(UTC))
    publish(settings.releases_path, version)
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the rows go")
    given = parser.parse_args()
    start = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(prepare(Path(folder)), given.cases, given.seed)
    seconds = perf_counter() - start
    for operation, statuses in sorted(outcome.statuses.items()):
        print(f"{operation:<40} {statuses.total():6,}  {dict(sorted(statuses.items()))}")
    for found in outcome.findings:
        print(f"\n! {found}")
    print(f"\n{outcome.total:,} cases, {len(outcome.findings)} findings, {seconds:.0f} s, seed {given.seed}")
    if given.json:
        codes = Counter(f"{status // 100}xx" for each in outcome.statuses.values() for status in each.elements())
        figures = {**outcome.cases, **codes, "cases": outcome.total, "findings": len(outcome.findings)}
        params = {"seed": given.seed, "operations": len(outcome.statuses)}
        rows = [
            Row("schema-driven", "shortlist", "generated", "", name, figure, seconds=seconds, params=params)
            for name, figure in sorted(figures.items())
        ]
        write(given.json, "fuzz", "generated", rows)
    sys.exit(1 if outcome.findings else 0)


if __name__ == "__main__":
    main()
