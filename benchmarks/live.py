"""How many events a second the HTTP door takes in: `python -m benchmarks.ingest --live --json OUT`.

A server of its own process over the embedded stores, a client of another over keep-alive connections. An event counts
when the answer says "accepted", which it does only after the event is on disk; afterwards the log is opened and must
hold exactly the events that were counted. Users and items are known, ids and times are drawn with a fixed seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.load import Answered, Job
from benchmarks.rows import ROOT, Row, write

SECONDS = 10.0
ITEMS, USERS = 2_000, 20_000
WAYS = {"single": (1, 64, 2_000), "batch": (1_000, 4, 20_000)}  # events a request, connections, goal


def main(out: Path | None) -> None:
    """Measure both ways, a fresh installation each."""
    rows = []
    for name, (size, connections, goal) in WAYS.items():
        with tempfile.TemporaryDirectory(dir=ROOT / ".benchmarks") as home, served(Path(home)) as (url, server):
            bodies = _bodies(Path(home) / "bodies.jsonl", size, int(4 * goal * SECONDS))
            before = _cpu(server.pid)
            job = Job(url, "/v1/events", bodies, 0.0, SECONDS, connections, count='"accepted"')
            words = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(job))]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
            answer = Answered(**json.loads(done.stdout))
            cpu = _cpu(server.pid) - before
            server.terminate()
            server.wait()
            stored = _stored(Path(home))
        rate = answer.counted / answer.seconds
        kept = stored == answer.counted
        met = rate >= goal and kept and not answer.failed
        capacity = answer.counted / cpu  # what one core can take in, however busy the machine was
        note = f"goal {goal}: {'met' if met else 'missed'}; acknowledged {answer.counted}, in the log {stored}"
        print(f"{name:<7} {rate:8,.0f} events/s, {capacity:,.0f} per second of the server's CPU, {note}", flush=True)
        params = {"events_per_request": size, "connections": connections, "server_cpu_seconds": cpu, **asdict(answer)}
        way, seconds = f"live {name}", answer.seconds
        for metric, value in (("events/s", rate), ("events per CPU second", capacity)):
            rows.append(
                Row(way, "shortlist", "generated", "", metric, value, seconds=seconds, params=params, note=note)
            )
    if out:
        write(out, "ingest-live", "generated", rows)


@contextmanager
def served(home: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server over stores that know the users and items; its address."""
    from shortlist.batch.steps import open_configured
    from shortlist.config import Settings

    with open_configured(Settings(home=home)) as stores:
        stores.catalog.rows("item", [f"item-{n}" for n in range(ITEMS)], create=True)
        stores.catalog.rows("user", [f"user-{n}" for n in range(USERS)], create=True)
    words = [sys.executable, "-m", "shortlist.cli", "serve", "--port", "0", "--json", "--config", str(home)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"], server
        finally:
            server.terminate()


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stored(home: Path) -> int:
    from shortlist.batch.steps import open_configured
    from shortlist.config import Settings

    with open_configured(Settings(home=home), read_only=True) as stores:
        return sum(len(events) for _, events in stores.log.scan())


def _bodies(path: Path, size: int, events: int) -> str:
    """More bodies than any server takes in: an event is never sent twice."""
    chance = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for at in range(events // size):
            user, item = chance.integers(USERS, size=size).tolist(), chance.integers(ITEMS, size=size).tolist()
            events = ",".join(
                f'{{"user_id":"user-{u}","item_id":"item-{i}","type":"click","event_id":"{at}-{number}"}}'
                for number, (u, i) in enumerate(zip(user, item, strict=True))
            )
            file.write(f'{{"events":[{events}]}}\n')
    return str(path)
