"""How many events a second the HTTP door takes in: `python -m benchmarks.ingest --live --json OUT`.

A server of its own process over the embedded stores, a client of another over keep-alive connections. An event counts
when the answer says "accepted", which it does only after the event is on disk; afterwards the log is opened and must
hold exactly the events that were counted. Users and items are known, ids and times are drawn with a fixed seed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.rows import ROOT, Row, write

SECONDS = 10.0
ITEMS, USERS = 2_000, 20_000
FIRST = 1_700_000_000
WAYS = {"single": (1, 64, 2_000), "batch": (1_000, 4, 20_000)}  # events a request, connections, goal


def main(out: Path | None) -> None:
    """Measure both ways, a fresh installation each."""
    rows = []
    for name, (size, connections, goal) in WAYS.items():
        with tempfile.TemporaryDirectory(dir=ROOT / ".benchmarks") as home, served(Path(home)) as (url, server):
            words = [sys.executable, "-m", "benchmarks.live", "--url", url]
            words += ["--size", str(size), "--connections", str(connections)]
            before = _cpu(server.pid)
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
            answer = json.loads(done.stdout)
            cpu = _cpu(server.pid) - before
            server.terminate()
            server.wait()
            stored = _stored(Path(home))
        rate = answer["accepted"] / answer["seconds"]
        kept = stored == answer["accepted"]
        met = rate >= goal and kept and not answer["failed"]
        capacity = answer["accepted"] / cpu  # what one core can take in, however busy the machine was
        note = f"goal {goal}: {'met' if met else 'missed'}; acknowledged {answer['accepted']}, in the log {stored}"
        print(f"{name:<7} {rate:8,.0f} events/s, {capacity:,.0f} per second of the server's CPU, {note}", flush=True)
        params = {"events_per_request": size, "connections": connections, "server_cpu_seconds": cpu, **answer}
        way, seconds = f"live {name}", answer["seconds"]
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


async def ask(url: str, size: int, connections: int) -> dict[str, Any]:
    """What the client process does: closed loop on every connection for SECONDS."""
    where = urlsplit(url)
    accepted = failed = 0
    took: list[float] = []
    start = perf_counter()

    async def connection(number: int) -> None:
        nonlocal accepted, failed
        chance = np.random.default_rng(number)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 22)
        head = f"POST /v1/events HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n".encode()
        sent = 0
        while perf_counter() - start < SECONDS:
            body = _body(chance, number, sent, size)
            sent += size
            before = perf_counter()
            writer.write(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            told = await reader.readexactly(length)
            took.append(perf_counter() - before)
            if answer.startswith(b"HTTP/1.1 20"):
                accepted += told.count(b'"accepted"')
            else:
                failed += 1
        writer.close()

    await asyncio.gather(*(connection(n) for n in range(connections)))
    seconds = perf_counter() - start
    p50, p99 = (float(np.quantile(took, share)) * 1000 for share in (0.5, 0.99))
    return {"accepted": accepted, "failed": failed, "seconds": seconds, "p50_ms": p50, "p99_ms": p99}


def _body(chance: np.random.Generator, number: int, sent: int, size: int) -> bytes:
    user, item = chance.integers(USERS, size=size).tolist(), chance.integers(ITEMS, size=size).tolist()
    events = ",".join(
        f'{{"user_id":"user-{u}","item_id":"item-{i}","type":"click","event_id":"{number}-{sent + at}"}}'
        for at, (u, i) in enumerate(zip(user, item, strict=True))
    )
    return f'{{"events":[{events}]}}'.encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(ask(given.url, given.size, given.connections))))
