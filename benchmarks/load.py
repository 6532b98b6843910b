"""Asks a server over HTTP and times it, in a process of its own.

    python -m benchmarks.load '{"url": ..., "path": "/v1/recommend", "bodies": "file.jsonl", "rate": 50, "seconds": 10}'

Open loop (`rate` > 0): requests are sent at the times of a Poisson process whatever became of those before, and latency
counts from the time a request was meant to be sent, so that a server that stalls cannot hide it. Closed loop (`rate`
0): `connections` clients ask again as soon as they are answered. Prints one line of JSON: what was sent, answered and
failed, percentiles in milliseconds. A request that failed counts with the time it took, and separately.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

BUCKETS = np.geomspace(0.05, 60_000, 400)  # milliseconds: 3.6 % wide


@dataclass(frozen=True)
class Job:
    url: str
    path: str
    bodies: str = ""  # a file, one JSON body a line; empty = GET
    rate: float = 0.0  # requests a second; 0 = closed loop
    seconds: float = 10.0
    connections: int = 64  # at most, or clients of a closed loop
    seed: int = 0


@dataclass(frozen=True)
class Answered:
    """What came of a job. `achieved` are good answers a second."""

    sent: int
    failed: int
    achieved: float
    p50: float
    p90: float
    p99: float
    p999: float
    most: float


class Histogram:
    """Counts by latency, in buckets of equal ratio."""

    def __init__(self) -> None:
        self.counts = np.zeros(len(BUCKETS) + 1, np.int64)
        self.most = 0.0

    def add(self, milliseconds: float) -> None:
        self.counts[np.searchsorted(BUCKETS, milliseconds)] += 1
        self.most = max(self.most, milliseconds)

    def at(self, share: float) -> float:
        """The upper edge of the bucket that holds the quantile."""
        total = int(self.counts.sum())
        if not total:
            return math.nan
        bucket = int(np.searchsorted(np.cumsum(self.counts), share * total))
        return float(min(BUCKETS[min(bucket, len(BUCKETS) - 1)], self.most))


class Client:
    """A pool of connections that are kept open."""

    def __init__(self, job: Job) -> None:
        place = urlsplit(job.url)
        self.host, self.port = place.hostname or "127.0.0.1", place.port or 80
        lines = Path(job.bodies).read_text("utf-8").splitlines() if job.bodies else []
        self.requests = [self._post(job.path, line.encode()) for line in lines] or [self._get(job.path)]
        self.idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self.room = asyncio.Semaphore(job.connections)
        self.histogram, self.good, self.failed, self.asked = Histogram(), 0, 0, 0

    def _get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()

    def _post(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, meant: float) -> None:
        """One request that was meant to be sent at `meant` (perf_counter)."""
        request = self.requests[self.asked % len(self.requests)]
        self.asked += 1
        async with self.room:
            try:
                good = await asyncio.wait_for(self._exchange(request), 30)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
                good = False
        self.histogram.add((perf_counter() - meant) * 1000)
        self.good += good
        self.failed += not good

    async def _exchange(self, request: bytes) -> bool:
        if self.idle:
            reader, writer = self.idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 24)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if "connection: close" in head:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return head.split(" ", 2)[1] == "200"


async def run(job: Job) -> Answered:
    """Do the job."""
    client = Client(job)
    begin = perf_counter()
    if job.rate:
        await _open_loop(client, job, begin)
    else:
        await asyncio.gather(*(_closed_loop(client, begin + job.seconds) for _ in range(job.connections)))
    took = max(job.seconds, perf_counter() - begin)
    at = client.histogram.at
    return Answered(
        client.asked,
        client.failed,
        client.good / took,
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        client.histogram.most,
    )


async def _open_loop(client: Client, job: Job, begin: float) -> None:
    rng = np.random.default_rng(job.seed)
    times = np.cumsum(rng.exponential(1 / job.rate, int(job.rate * job.seconds * 1.5) + 50))
    tasks = []
    for meant in (begin + times[times < job.seconds]).tolist():
        if (wait := meant - perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(client.ask(meant)))
    await asyncio.gather(*tasks)


async def _closed_loop(client: Client, end: float) -> None:
    while (now := perf_counter()) < end:
        await client.ask(now)


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Job(**json.loads(sys.argv[1])))))))
