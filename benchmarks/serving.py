"""Answers over HTTP: latency, throughput and memory, beside an empty handler and two other services.

    python -m benchmarks.serving --json benchmarks/results/serving.json
    python -m benchmarks.serving --quick

Two installations: MovieLens-1M, and a generated world of 100,000 items and 1,000,000 people. Five sources, about 500
candidates, MMR, reasons in every answer. The load comes from a process of its own (`benchmarks.load`), open loop where
latency is judged. All share the machine: on two cores the generator takes its part of one of them.

Beside the other services stands `als`: what they do and no more, on their data. One source, the model whose factors
LibRecommender serves, without seen items, 20 places, no reasons; the factors of a person are computed from the history
as it is at that moment, where LibRecommender reads them from Redis. A process a core for both.

| figure | goal |
|---|---|
| p50 at 50 requests/s, one worker | 5 ms |
| p99 at half the knee over the p99 of an empty handler (`/livez`) at that rate | 4 |
| whole-pipeline recommendations/s, a worker a core | 300 |
| people/s of the batch endpoint, a worker a core | 2,000 |
| requests/s of `als` over those of LibRecommender, at a lower p99 | 10 |
| growth of memory per 100,000 requests, after a warm-up | 1 MB |

The knee is the last rate of a rising series that is kept up with at a p99 below 100 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter, time_ns
from typing import Any

import numpy as np

from benchmarks import recommend
from benchmarks.load import Answered, Job
from benchmarks.peers.process import PeerFailed
from benchmarks.peers.serving import PEERS, peer
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import folder
from shortlist import ops, release
from shortlist.batch.steps import open_configured
from shortlist.batch.train import read_window, train
from shortlist.config import Settings, parse
from shortlist.data.movielens import movielens_1m
from shortlist.dataset import Dataset, Kinds
from shortlist.models.als import Als
from shortlist.rank.weighted import ZBlendModel
from shortlist.stores import ROLES
from shortlist.types import Events

RATES = (50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400)
PATIENCE = 100.0  # ms of p99 beyond which a rate is too high
LIKE = 3  # code of the kind of the generated events
CROWD = 64  # clients that keep a service busy beside others


@dataclass(frozen=True)
class Size:
    """How large and how long."""

    items: int = 100_000
    people: int = 1_000_000
    events_each: float = 6.0
    seconds: float = 20.0
    step: float = 5.0
    soak: int = 50_000  # requests between two looks at the memory


QUICK = Size(items=2_000, people=4_000, events_each=15.0, seconds=2.0, step=1.0, soak=300)


def movielens(home: Path) -> Settings:
    """MovieLens-1M, trained and published."""
    return recommend.prepare(home, 1.0)


def one_model(home: Path) -> Settings:
    """MovieLens-1M with one ALS and nothing behind it but the filter of seen items."""
    default = parse({}, home=home).pipelines["home"]
    sources = {"als": {"model": "als", "k": 20}}
    table = {"sources": sources, "filters": {"seen": default.filters["seen"]}, "features": {}, "rank": {}, "rerank": {}}
    return recommend.released(parse({"pipelines": {"home": table}}, home=home))


def generated(home: Path, size: Size) -> Settings:
    """People of a hundred tastes over items whose popularity falls by a power law, trained and published."""
    rng = np.random.default_rng(17)
    tastes = 100
    count = rng.geometric(1 / size.events_each, size.people)
    user = np.repeat(np.arange(size.people, dtype=np.int32), count)
    per = size.items // tastes
    rank = np.minimum((per * rng.random(len(user)) ** 2.5).astype(np.int64), per - 1)
    own = np.repeat(rng.integers(0, tastes, size.people), count)
    taste = np.where(rng.random(len(user)) < 0.8, own, rng.integers(0, tastes, len(user)))
    item = (rank * tastes + taste).astype(np.int32)
    now = time_ns() // 1000
    time = np.sort(now - rng.integers(0, 90 * 86_400_000_000, len(user)))
    order = rng.permutation(len(user))  # who does what when is chance
    chosen = generated_settings(home)
    stores = open_configured(chosen)
    try:
        for entity, rows in (("user", size.people), ("item", size.items)):
            stores.catalog.rows(entity, [f"{entity[0]}{row}" for row in range(rows)], create=True)
        stores.catalog.put(
            "item",
            np.arange(size.items, dtype=np.int32),
            {"title": np.array([f"Item {row}" for row in range(size.items)], object)},
        )
        id = np.stack((np.arange(len(user), dtype=np.uint64), np.full(len(user), 1, np.uint64)), axis=1)
        kind = np.full(len(user), chosen.kinds.table["like"].code, np.uint8)
        one = np.ones(len(user), np.float32)
        stores.log.append(Events(user[order], item[order], kind, one, time, np.zeros(len(user), np.uint64), id))
        roles = {role: getattr(stores, role) for role in ROLES}
        data = read_window(chosen, stores.catalog, stores.log)
        sources = tuple(chosen.pipelines["home"].sources)
        equal = np.full(len(sources), 1.0, np.float32)
        ranker = ZBlendModel(sources, equal, np.zeros(len(sources), np.float32), equal)
        trained = train(chosen, data, roles, learned={"home": ranker})
        created = datetime.now(UTC)
        facts = {"created": created.isoformat(timespec="seconds"), "last_event": int(time[-1])}
        chosen.releases_path.mkdir(parents=True, exist_ok=True)
        release.publish(chosen.releases_path, release.save(chosen.releases_path, trained.pipelines, facts))
    finally:
        stores.close()
    return chosen


def generated_settings(home: Path) -> Settings:
    """The pipeline of the other world without what needs a matrix of all items by all items."""
    default = recommend.settings(home, 1.0).pipelines["home"]
    table = {
        "sources": {
            "next": {"model": "next", "k": 150},
            "als": {"model": "als", "k": 250},
            "knn": {"model": "knn", "k": 150},
            "popular": {"use": "recall.popular:Popular", "k": 100},
            "new": {"use": "recall.fresh:Fresh", "k": 50},
        },
        "filters": default.filters,
        "rank": {},
        "rerank": default.rerank,
        "fallback": default.fallback,
    }
    models = {"als": {"factors": 32, "iterations": 5}}
    return parse({"pipelines": {"home": table}, "train": {"models": models}}, home=home)


@contextmanager
def serving(home: Path, workers: int) -> Iterator[str]:
    """`shortlist serve`, and its address."""
    (home / "shortlist.toml").write_text("[serve]\n", "utf-8")
    command = [sys.executable, "-m", "shortlist.cli", "serve", "--config", str(home), "--json", "--port", "0"]
    with started([*command, "--workers", str(workers)]) as line:
        yield json.loads(line)["url"]


@contextmanager
def started(command: Sequence[str]) -> Iterator[str]:
    """A server, and the first line that it prints."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            if not line:
                raise PeerFailed(f"{command[:3]} ended before it served")
            yield line
        finally:
            server.terminate()
            server.wait(60)


def ask(job: Job) -> Answered:
    """Do a job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(job))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return Answered(**json.loads(done.stdout))


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def bodies(path: Path, asked: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(each) for each in asked) + "\n", "utf-8")
    return str(path)


def knee(load: Callable[[float], Answered], seconds: float) -> float:
    """The last rate that is kept up with for so many seconds."""
    best = 0.0
    for rate in RATES:
        found = load(rate)
        print(
            f"    {rate:5} requests/s: p50 {found.p50:.1f}  p99 {found.p99:.1f} ms, {found.failed} failed", flush=True
        )
        if found.failed or found.p99 > PATIENCE or found.seconds > 1.1 * seconds:
            break
        best = float(rate)
    return best


def resident(pid: int) -> float:
    """MB in memory that no other process shares."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure(name: str, home: Path, people: Sequence[str], size: Size) -> list[Row]:
    """Every figure of one installation."""
    place = Path(tempfile.mkdtemp(dir=home))
    one = bodies(place / "one.jsonl", [{"user_id": id} for id in people])
    short = bodies(place / "short.jsonl", [{"user_id": id, "explain": "none"} for id in people])
    many = [{"requests": [{"user_id": id, "explain": "none"} for id in part]} for part in _parts(people, 500)]
    batches = bodies(place / "many.jsonl", many)
    rows: list[Row] = []

    def told(metric: str, value: float, note: str) -> None:
        print(f"  {name:14} {metric:38} {value:10.2f}   {note}", flush=True)
        rows.append(Row("serving", "shortlist", name, "", metric, value, note=note))

    with serving(home, 1) as url:
        ask(Job(url, "/v1/recommend", one, 20.0, size.step, seed=1))  # warm-up
        calm = ask(Job(url, "/v1/recommend", one, 50.0, size.seconds, seed=2))
        told("p50_ms", calm.p50, "50 requests/s, one worker; goal 5")
        told("p99_ms", calm.p99, "50 requests/s, one worker")
        bare = ask(Job(url, "/v1/recommend", short, 50.0, size.seconds, seed=2))
        told("bare_p50_ms", bare.p50, "50 requests/s, one worker, lists without reasons")
        rate = knee(lambda rate: ask(Job(url, "/v1/recommend", one, rate, size.step, seed=3)), size.step)
        told("knee_rps", rate, f"last rate with p99 below {PATIENCE:.0f} ms, one worker")
        half = max(rate, RATES[0]) / 2
        loaded = ask(Job(url, "/v1/recommend", one, half, size.seconds, seed=4))
        floor = ask(Job(url, "/livez", "", half, size.seconds, seed=4))
        told("half_knee_p99_ms", loaded.p99, f"{half:.0f} requests/s")
        told("floor_p99_ms", floor.p99, f"{half:.0f} requests/s, empty handler; p50 {floor.p50:.2f}")
        told("p99_over_floor", loaded.p99 / floor.p99, "goal 4")
    with serving(home, 2) as url:
        ask(Job(url, "/v1/recommend", one, 0.0, size.step, 8))
        full = ask(Job(url, "/v1/recommend", one, 0.0, size.seconds, 8))
        told("recommendations_per_s", full.achieved, f"two workers, 8 clients; p99 {full.p99:.0f} ms; goal 300")
        ask(Job(url, "/v1/recommend:batch", batches, 0.0, size.step, 4))
        batch = ask(Job(url, "/v1/recommend:batch", batches, 0.0, size.seconds, 4))
        told("batch_people_per_s", batch.achieved * len(many[0]["requests"]), "two workers, 500 a request; goal 2,000")
    return rows


def growth(home: Path, people: Sequence[str], size: Size) -> list[Row]:
    """Memory before and after many requests, once everything that is remembered has filled its room."""
    one = bodies(home / "one.jsonl", [{"user_id": id} for id in people])
    with serving(home, 1) as url:
        pid = int(get(f"{url}/statusz")["worker"]["pid"])
        soak(url, one, size.soak // 2)
        before = resident(pid)
        asked = soak(url, one, size.soak)
        after = resident(pid)
    note = f"per 100,000 requests, from {asked:,}: {before:.1f} MB, then {after:.1f}; goal 1"
    row = Row("serving", "shortlist", "movielens-1m", "", "growth_mb", (after - before) * 100_000 / asked, note=note)
    print(f"  {row.set:14} {row.metric:38} {row.value:10.2f}   {note}", flush=True)
    return [row]


def soak(url: str, file: str, requests: int) -> int:
    """At least so many requests; how many there were."""
    asked = 0
    while asked < requests:
        asked += ask(Job(url, "/v1/recommend", file, 0.0, 20.0 if requests > 5_000 else 2.0, 8)).sent
    return asked


def beside(side: str, home: Path, people: Sequence[str], size: Size, environments: Path) -> list[Row]:
    """The same questions to another service over the same data: throughput and latency."""
    data(home)
    with peer(side, home, environments, started) as service:
        file = bodies(home / "peer.jsonl", [service.body(id) for id in people])
        return compared(side, service.url, service.path, file, service.note, size)


def alike(home: Path, people: Sequence[str], size: Size) -> list[Row]:
    """`als`: our own answers of what the others answer, by one process and by one a core."""
    file = bodies(home / "alike.jsonl", [{"user_id": id, "n": 20, "explain": "none"} for id in people])
    rows: list[Row] = []
    for workers in (1, 2):
        with serving(home, workers) as url:
            note = f"the same ALS, folded in at every request, workers: {workers}"
            rows += compared(f"shortlist:{workers}", url, "/v1/recommend", file, note, size)
    return rows


def compared(side: str, url: str, path: str, file: str, note: str, size: Size) -> list[Row]:
    """Throughput of a service that is kept busy, and latency at half of it."""
    ask(Job(url, path, file, 0.0, size.step, 8))
    busy = ask(Job(url, path, file, 0.0, size.seconds, CROWD))
    calm = ask(Job(url, path, file, max(5.0, busy.achieved / 2), size.seconds, seed=5))
    note = f"{note}; {calm.failed + busy.failed} failed"
    rows: list[Row] = []
    found = {"requests_per_s": busy.achieved, "half_load_p50_ms": calm.p50, "half_load_p99_ms": calm.p99}
    for metric, value in found.items():
        print(f"  {side:20} {metric:32} {value:10.2f}   {note}", flush=True)
        rows.append(Row("serving", side, "movielens-1m", "als", metric, value, note=note))
    return rows


def data(home: Path) -> None:
    """What a peer serves from: ratings.csv, and the factors of our own ALS of the same ratings in factors.npz."""
    frames = movielens_1m(folder("movielens-1m"))
    frames.events.select("user", "item", "value", "time").write_csv(home / "ratings.csv")
    user, item = (frames.events[name].unique(maintain_order=True).to_list() for name in ("user", "item"))
    row = {name: dict(zip(ids, range(len(ids)), strict=True)) for name, ids in (("user", user), ("item", item))}
    at = [np.array([row[name][id] for id in frames.events[name].to_list()], np.int32) for name in ("user", "item")]
    kinds, size = Kinds(), len(frames.events)
    facts = (
        *at,
        np.full(size, kinds.table["like"].code, np.uint8),
        np.ones(size, np.float32),
        frames.events["time"].to_numpy(),
    )
    events = Events(*facts, np.zeros(size, np.uint64), ops.event_ids(*facts))
    learned = Dataset.of(events, n_users=len(user), n_items=len(item))
    model = Als(factors=64).fit(learned, seed=0)
    people = model.fold_in(learned.histories(np.arange(len(user), dtype=np.int32)))
    np.savez(home / "factors.npz", user=people, item=model.item, user_id=np.array(user), item_id=np.array(item))


def _parts(people: Sequence[str], size: int) -> list[Sequence[str]]:
    return [people[start : start + size] for start in range(0, len(people) - size + 1, size)] or [people]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--quick", action="store_true", help="a small world and short runs: does it work?")
    parts = ("movielens-1m", "generated", "als", *PEERS, "growth")
    options.add_argument("--only", nargs="*", choices=parts, default=parts)
    options.add_argument("--environments", type=Path, default=ROOT / ".benchmarks" / "peers")
    given = options.parse_args()
    size = QUICK if given.quick else Size()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        for name in given.only:
            home, start = Path(place) / name.replace(":", "-"), perf_counter()
            home.mkdir()
            try:
                if name in PEERS:
                    people = [str(id) for id in np.random.default_rng(0).permutation(6040)[:2000] + 1]
                    rows += beside(name, home, people, size, given.environments)
                    continue
                chosen = {"generated": partial(generated, size=size), "als": one_model}.get(name, movielens)(home)
                print(f"  {name}: trained in {perf_counter() - start:.0f} s", flush=True)
                with open_configured(chosen, read_only=True) as stores:
                    some = np.random.default_rng(0).permutation(stores.catalog.size("user"))[:4000].astype(np.int32)
                    asked = stores.catalog.ids("user", some)
                rows += {"growth": growth, "als": alike}.get(name, partial(measure, name))(home, asked, size)
            except PeerFailed as error:
                print(f"  {name}: {error}", file=sys.stderr)
    if given.json:
        write(given.json, "serving", "movielens-1m and generated", rows)


if __name__ == "__main__":
    main()
