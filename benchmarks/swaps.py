"""Releases swapped under load, and the publish gate put to the test.

    python -m benchmarks.swaps --json benchmarks/results/swaps.json

*Swaps.* `shortlist serve` answers 100 requests/s of an open loop (latency from the moment a request was due) while two
releases are published in turn, 100 times. One may show only items of side 0, the other only of side 1, and their stages
have different names: an answer is mixed when an item or a stage is not of the release that the answer names.

*Rollback.* Beside a server with a release of MovieLens-1M: seconds from the start of `shortlist rollback`, or from the
sending of `POST /v1/releases:rollback`, until the first answer of the earlier release; the slowest of several. Goal: 2.

    python -m benchmarks.swaps --swaps 0 --each 0 --json benchmarks/results/rollback.json

*Gate.* Against a live release of the default recipe on MovieLens-100K, 20 planted bad releases and 20 good ones, see
`benchmarks.planted`. Nothing is published: each is examined against the same live release. The limits of the gate were
chosen with the seeds from 0 on in view; those that are judged here were not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter, sleep, time_ns
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from benchmarks import planted, recommend
from benchmarks.planted import Plant
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import folder
from shortlist import release
from shortlist.batch.gate import Gate, examine
from shortlist.batch.steps import by_role, make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.data.frames import Frames, load_frames
from shortlist.data.movielens import movielens_100k
from shortlist.data.world import generate
from shortlist.stores import Stores

SET = ("movielens-100k", "leave-last")
SIDES = ("even", "odd")
CONNECTIONS = 64
NEXT = 30.0  # seconds until a published release must be served
ROLLBACK = 2.0  # seconds that one may take
SPREAD = 1_000_000  # microseconds around a swap that count as "during"


# swaps


def two_sides(home: Path, *, users: int = 300, items: int = 400, events: int = 12_000) -> tuple[Settings, list[str]]:
    """An installation, and a release for the items of each side."""
    default = parse({}, home=home).pipelines["home"]
    sources = {name: {**default.sources[name], "k": 60} for name in ("next", "ease", "popular")}
    configured = []
    for side, name in enumerate(SIDES):
        only = {name: {"use": "filters.attribute:Attribute", "where": f"side == {side}"}}
        table = {"limit": 10, "sources": sources, "filters": {**default.filters, **only}, "fallback": default.fallback}
        configured.append(parse({"pipelines": {"home": table}}, home=home))
    versions = []
    with open_configured(configured[0]) as stores:
        now = time_ns() // 1000
        frames = generate(now=now, users=users, items=items, events=events).frames
        load_frames(frames, stores.catalog, stores.log, kinds=configured[0].kinds, now=now, rejects=home / "rejects")
        rows = np.arange(stores.catalog.size("item"), dtype=np.int32)
        stores.catalog.put("item", rows, {"side": (rows % 2).astype(np.float64)})
        data = read_window(configured[0], stores.catalog, stores.log)
        for side, settings in enumerate(configured):
            created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=side)
            versions.append(make_release(settings, data, stores, created=created)[0])
    release.publish(configured[0].releases_path, versions[0])
    return configured[0], versions


@dataclass
class Seen:
    """What the client saw."""

    failed: list[str] = field(default_factory=list)
    mixed: list[str] = field(default_factory=list)
    short: int = 0
    due: list[int] = field(default_factory=list)  # microseconds
    late: list[float] = field(default_factory=list)  # seconds from due to answered
    release: str = ""  # named by the newest answer
    answers: dict[str, int] = field(default_factory=dict)  # by release

    def look(self, answer: dict[str, Any], sides: dict[str, int]) -> None:
        """Is every part of an answer of the release that it names?"""
        version = answer["versions"]["release"]
        side = sides[version]
        wrong = [item["id"] for item in answer["items"] if item["fields"]["side"] != side]
        foreign = [stage["name"] for stage in answer["trace"] if stage["name"] == SIDES[1 - side]]
        if wrong or foreign:
            self.mixed.append(f"{version}: items {wrong}, stages {foreign}")
        self.short += len(answer["items"]) < 10
        self.answers[version] = self.answers.get(version, 0) + 1
        self.release = version


async def under_load(
    url: str, users: int, versions: list[str], publish: Callable[[str], None], *, swaps: int, rate: float
) -> tuple[Seen, list[int]]:
    """Ask in an open loop until `publish` has been called `swaps` times and each release was seen; when each was."""
    seen, swapped = Seen(), []
    sides = {version: side for side, version in enumerate(versions)}
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(_Connection(url))
    stop, running = asyncio.Event(), set()

    async def ask(number: int, due: float) -> None:
        connection = await free.get()
        wanted = {"user_id": f"r{1 + number % users}", "n": 10, "explain": "full", "fields": ["side"]}
        try:
            status, body = await connection.post("/v1/recommend", json.dumps(wanted).encode())
            if status == 200:
                seen.look(json.loads(body), sides)
            else:
                seen.failed.append(f"{status}: {body[:200]!r}")
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.failed.append(f"{type(error).__name__}: {error}")
            connection.close()
        finally:
            free.put_nowait(connection)
        seen.due.append(time_ns() // 1000 - int((perf_counter() - due) * 1e6))
        seen.late.append(perf_counter() - due)

    async def load() -> None:
        start, number = perf_counter(), 0
        while not stop.is_set():
            due = start + number / rate
            if (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(ask(number, due))
            running.add(task)
            task.add_done_callback(running.discard)
            number += 1

    loading = asyncio.create_task(load())
    for swap in range(swaps):
        version = versions[(swap + 1) % len(versions)]
        await asyncio.to_thread(publish, version)
        async with asyncio.timeout(NEXT):
            while seen.release != version:
                await asyncio.sleep(0.02)
        swapped.append(time_ns() // 1000)
    stop.set()
    await loading
    await asyncio.gather(*running)
    while not free.empty():
        free.get_nowait().close()
    return seen, swapped


class _Connection:
    """One HTTP/1.1 connection, kept open; no more of the protocol than this server speaks."""

    def __init__(self, url: str) -> None:
        self.address = urlsplit(url)
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(self.address.hostname, self.address.port)
        reader, writer = self.streams
        head = f"POST {path} HTTP/1.1\r\nHost: {self.address.netloc}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answered = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(answered.split("content-length:")[1].split("\r\n")[0])
        return int(answered.split()[1]), await reader.readexactly(length)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
        self.streams = None


@contextmanager
def served(home: Path) -> Iterator[str]:
    """A server of its own process, told by environment where the pipelines are; its address."""
    command = [sys.executable, "-m", "shortlist.cli", "serve", "--config", str(home), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
            server.wait(30)


def measure_swaps(swaps: int, rate: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        settings, versions = two_sides(home)
        (home / "shortlist.toml").write_text("", "utf-8")

        def publish(version: str) -> None:
            release.publish(settings.releases_path, version, by="benchmarks.swaps")

        with served(home) as url:
            seen, swapped = asyncio.run(under_load(url, 300, versions, publish, swaps=swaps, rate=rate))
    late, due = np.array(seen.late) * 1000, np.array(seen.due)
    during = (np.abs(due[:, None] - np.array(swapped)) <= SPREAD).any(axis=1)
    note = f"{len(late):,} requests at {rate:g}/s, {swaps} swaps between two releases, one server process"
    for text in (*seen.failed[:5], *seen.mixed[:5]):
        print(text)
    figures = {
        "swaps": len(swapped),
        "requests": len(late),
        "failed": len(seen.failed),
        "mixed": len(seen.mixed),
        "short": seen.short,
        "p50_ms": np.median(late),
        "p99_ms": np.percentile(late, 99),
        "p99_ms_during_swaps": np.percentile(late[during], 99),
        "p99_ms_between": np.percentile(late[~during], 99) if (~during).any() else float("nan"),
    }
    return [Row("swap", "shortlist", "generated", "", name, float(value), note=note) for name, value in figures.items()]


# rollback


def measure_rollback(times: int) -> list[Row]:
    """Back and forth between two releases, by the command and over HTTP."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        settings = recommend.prepare(home, 1.0)
        first = str(release.current(settings.releases_path))
        releases = [_again(settings, first), first]
        size = sum(each.stat().st_size for each in (settings.releases_path / first).rglob("*")) / 1e6
        (home / "shortlist.toml").write_text("", "utf-8")
        command = [sys.executable, "-m", "shortlist.cli", "rollback", "--config", str(home), "--quiet", "--to"]
        with served(home) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:

            def typed(version: str) -> None:
                subprocess.run([*command, version], check=True, cwd=ROOT)

            def posted(version: str) -> None:
                client.post("/v1/releases:rollback", json={"to": version}).raise_for_status()

            release.publish(settings.releases_path, releases[0])
            _until_served(url, releases[0])
            for name, way in (("shortlist rollback", typed), ("POST /v1/releases:rollback", posted)):
                taken = [back(url, way, releases[(turn + 1) % 2]) for turn in range(times)]
                if times % 2:
                    releases.reverse()
                note = (
                    f"slowest of {times}, median {np.median(taken):.2f}; release of {size:.0f} MB; "
                    f"load average of the machine {os.getloadavg()[0]:.1f}; goal {ROLLBACK:g}"
                )
                rows.append(Row(name, "shortlist", "movielens-1m", "", "rollback_seconds", max(taken), note=note))
    return rows


def back(url: str, way: Callable[[str], None], version: str) -> float:
    """Seconds from the call of `way` until an answer is of release `version`."""
    begun = perf_counter()
    with ThreadPoolExecutor(1) as beside:
        waited = beside.submit(_until_served, url, version)
        way(version)
        return waited.result() - begun


def _until_served(url: str, version: str) -> float:
    """When (perf_counter) the first answer of release `version` was there."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        until = perf_counter() + NEXT
        while perf_counter() < until:
            answer = client.post("/v1/recommend", json={"user_id": "1", "n": 10}).raise_for_status().json()
            if answer["versions"]["release"] == version:
                return perf_counter()
            sleep(0.01)
    raise TimeoutError(f"{version} is not served after {NEXT} s")


def _again(settings: Settings, version: str) -> str:
    """The same release, made a day later."""
    root = settings.releases_path
    with open_configured(settings, read_only=True) as stores:
        loaded = release.load(root, version, by_role(stores))
        parts = {name: release.load_part(root, version, name, by_role(stores)) for name in ("golden", "rehearsal")}
        created = datetime.fromisoformat(loaded.facts["created"]) + timedelta(days=1)
        return release.save(root, loaded.pipelines, {**loaded.facts, "created": created.isoformat()}, parts=parts)


# the gate


def live(frames: Frames, home: Path) -> tuple[Settings, str]:
    """An installation with `frames` and a published release of the default recipe."""
    settings = parse({"releases": {"trust": list(planted.TRUST)}}, home=home)
    with open_configured(settings) as stores:
        now = time_ns() // 1000
        load_frames(frames, stores.catalog, stores.log, kinds=settings.kinds, now=now, rejects=home / "rejects")
        data = read_window(settings, stores.catalog, stores.log)
        version = Plant("live", True, 0).make(settings, data, stores)
    release.publish(settings.releases_path, version)
    return settings, version


def judged(settings: Settings, stores: Stores, plants: Iterable[Plant]) -> Iterator[tuple[Plant, Gate]]:
    """Each planted release made, examined and thrown away."""
    data = read_window(settings, stores.catalog, stores.log)
    for plant in plants:
        version = plant.make(settings, data, stores)
        yield plant, examine(settings, stores, version)
        release.prune(settings.releases_path, 1)


def measure_gate(each: int, first: int) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as place:
        settings, _ = live(movielens_100k(folder("movielens-100k")), Path(place))
        with open_configured(settings, read_only=True) as stores:
            right = {False: 0, True: 0}
            for plant, gate in judged(settings, stores, [*planted.bad(each, first), *planted.good(4 * each, first)]):
                right[plant.good] += plant.good != bool(gate.failed)
                said = ", ".join(gate.failed) or "passed"
                kind = f"{'good' if plant.good else 'bad'} {plant.kind}"
                print(f"{kind:15} {plant.seed:3}  {said}  ({gate.seconds:.1f} s)", flush=True)
                quality = next(check.candidate for check in gate.checks if check.name == "quality")
                value = float("nan") if quality is None else quality
                rows.append(Row(kind, "shortlist", *SET, "ndcg@10", value, seconds=gate.seconds, note=said))
    for name, good in (("bad_stopped", False), ("good_passed", True)):
        print(f"{name}: {right[good]} of {4 * each}")
        rows.append(Row("gate", "shortlist", *SET, name, right[good], note=f"of {4 * each}, seeds from {first} on"))
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--swaps", type=int, default=100)
    options.add_argument("--rate", type=float, default=100.0)
    options.add_argument("--rollbacks", type=int, default=10, help="each way")
    options.add_argument("--each", type=int, default=5, help="planted releases of each of the four bad kinds")
    options.add_argument("--first", type=int, default=100, help="seed of the first of each kind")
    given = options.parse_args()
    rows = measure_swaps(given.swaps, given.rate) if given.swaps else []
    rows += measure_rollback(given.rollbacks) if given.rollbacks else []
    for row in rows:
        print(f"{row.model:27} {row.metric:22} {row.value:12.2f}  {row.note}")
    rows += measure_gate(given.each, given.first) if given.each else []
    if given.json:
        write(given.json, "swaps", ", ".join(dict.fromkeys(row.set for row in rows)), rows)


if __name__ == "__main__":
    main()
