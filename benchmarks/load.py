"""Asks a server over HTTP and times it, in a process of its own.

    python -m benchmarks.load '{"url": ..., "path": "/v1/recommend", "bodies": "file.jsonl", "rate": 50, "seconds": 10}'

Open loop (`rate` > 0): requests are sent at the times of a Poisson process whatever became of those before, and latency
counts from the time a request was meant to be sent, so that a server that stalls cannot hide it. Closed loop (`rate`
0): `connections` clients ask again as soon as they are answered. Prints one line of JSON: what was sent, answered and
failed, percentiles in milliseconds. A request that failed counts with the time it took, and separately.

One thread over plain sockets and `select`, whose clock is fine: timers of an event loop are a millisecond coarse, as
much as what is measured, and a generator that watches the clock instead keeps the server from a core.
"""

from __future__ import annotations

import json
import math
import select
import socket
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

BUCKETS = np.geomspace(0.05, 60_000, 400)  # milliseconds: 3.6 % wide
PATIENCE = 30.0  # seconds until an answer that has not come counts as failed


@dataclass(frozen=True)
class Job:
    url: str
    path: str
    bodies: str = ""  # a file, one JSON body a line; empty = GET
    rate: float = 0.0  # requests a second; 0 = closed loop
    seconds: float = 10.0
    connections: int = 64  # at most, or clients of a closed loop
    seed: int = 0
    count: str = ""  # text that is counted in good answers


@dataclass(frozen=True)
class Answered:
    """What came of a job. `achieved` are good answers a second, `counted` how often the text of the job was in them."""

    sent: int
    failed: int
    achieved: float
    p50: float
    p90: float
    p99: float
    p999: float
    most: float
    counted: int
    seconds: float


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


class Connection:
    """One that is kept open, with at most one request under way."""

    def __init__(self, place: tuple[str, int]) -> None:
        self.socket = socket.create_connection(place, timeout=5)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.read = bytearray()
        self.meant = self.sent = 0.0

    def fileno(self) -> int:
        return self.socket.fileno()

    def ask(self, request: bytes, meant: float) -> None:
        self.meant, self.sent = meant, perf_counter()
        self.read.clear()
        self.socket.sendall(request)

    def answer(self) -> tuple[bytes, bytes] | None:
        """Head and body, None while they are not complete. OSError when the server has gone."""
        with suppress(BlockingIOError):
            some = self.socket.recv(1 << 20, socket.MSG_DONTWAIT)
            if not some:
                raise ConnectionError("the server closed the connection")
            self.read += some
        head, end, body = self.read.partition(b"\r\n\r\n")
        if not end:
            return None
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        return (bytes(head), bytes(body)) if len(body) >= length else None


class Client:
    """Keeps a server busy, and counts."""

    def __init__(self, job: Job) -> None:
        url = urlsplit(job.url)
        self.job, self.place = job, (url.hostname or "127.0.0.1", url.port or 80)
        host = f"{self.place[0]}:{self.place[1]}"
        lines = Path(job.bodies).read_text("utf-8").splitlines() if job.bodies else []
        head = f"POST {job.path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        self.requests = [f"{head}Content-Length: {len(line.encode())}\r\n\r\n{line}".encode() for line in lines]
        self.requests = self.requests or [f"GET {job.path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()]
        self.idle: list[Connection] = []
        self.busy: list[Connection] = []  # as they were asked
        self.histogram, self.good, self.failed, self.asked, self.counted = Histogram(), 0, 0, 0, 0

    def ask(self, meant: float) -> None:
        """Send the next request on a connection that is free, or on a new one."""
        request = self.requests[self.asked % len(self.requests)]
        self.asked += 1
        try:
            connection = self.idle.pop() if self.idle else Connection(self.place)
            connection.ask(request, meant)
        except OSError:
            self._done(meant, good=False)
        else:
            self.busy.append(connection)

    def hear(self, seconds: float) -> None:
        """Take the answers that come within `seconds`, at least those that are there."""
        for connection in select.select([*self.busy, *self.idle], (), (), max(0.0, seconds))[0]:
            if connection in self.idle:  # the server has closed it
                self.idle.remove(connection)
                connection.socket.close()
                continue
            try:
                answer = connection.answer()
            except (OSError, ValueError):
                self._lose(connection)
                continue
            if answer is not None:
                self._take(connection, *answer)
        if self.busy and perf_counter() - self.busy[0].sent > PATIENCE:
            self._lose(self.busy[0])

    def _take(self, connection: Connection, head: bytes, body: bytes) -> None:
        good = head.split(b" ", 2)[1] in (b"200", b"202")
        self._done(connection.meant, good=good)
        if good and self.job.count:
            self.counted += body.count(self.job.count.encode())
        self.busy.remove(connection)
        if b"connection: close" in head.lower():
            connection.socket.close()
        else:
            self.idle.append(connection)

    def _lose(self, connection: Connection) -> None:
        self._done(connection.meant, good=False)
        self.busy.remove(connection)
        connection.socket.close()

    def _done(self, meant: float, *, good: bool) -> None:
        self.histogram.add((perf_counter() - meant) * 1000)
        self.good += good
        self.failed += not good


def run(job: Job) -> Answered:
    """Do the job."""
    client = Client(job)
    begin = perf_counter()
    if job.rate:
        rng = np.random.default_rng(job.seed)
        times = np.cumsum(rng.exponential(1 / job.rate, int(job.rate * job.seconds * 1.5) + 50))
        _open_loop(client, (begin + times[times < job.seconds]).tolist())
    else:
        _closed_loop(client, begin + job.seconds)
    took = max(job.seconds, perf_counter() - begin)
    at = client.histogram.at
    percentiles = (at(0.5), at(0.9), at(0.99), at(0.999), client.histogram.most)
    return Answered(client.asked, client.failed, client.good / took, *percentiles, client.counted, took)


def _open_loop(client: Client, times: Sequence[float]) -> None:
    due = deque(times)
    while due or client.busy:
        while due and due[0] <= perf_counter() and len(client.busy) < client.job.connections:
            client.ask(due.popleft())
        full = len(client.busy) >= client.job.connections
        left = due[0] - perf_counter() if due and not full else 1.0
        client.hear(left)


def _closed_loop(client: Client, end: float) -> None:
    while (now := perf_counter()) < end:
        for _ in range(client.job.connections - len(client.busy)):
            client.ask(now)
        client.hear(1.0)
    while client.busy:
        client.hear(1.0)


if __name__ == "__main__":
    print(json.dumps(asdict(run(Job(**json.loads(sys.argv[1]))))))
