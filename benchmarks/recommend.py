"""One recommend call in process, stage by stage: MovieLens-1M, five sources, 500 candidates, MMR.

    python -m benchmarks.recommend --json benchmarks/results/recommend.json

Loads the ratings into embedded stores, trains and publishes a release, opens it as the server does (memory-mapped), and
asks for one person at a time. `recommend` is the pipeline with the building of the question from the stores;
`because` is what naming the reasons adds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, time_ns

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, write
from benchmarks.splits import folder
from shortlist.batch.steps import make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.data.frames import load_frames
from shortlist.data.movielens import movielens_1m
from shortlist.release import publish
from shortlist.runtime import Runtime

GOAL_MS = 3.0
CANDIDATES = 500
SOURCES = {"next": 300, "ease": 300, "als": 300, "knn": 200, "popular": 100}


def settings(home: Path, scale: float) -> Settings:
    """The default pipeline with five sources, each asked for its share, and MMR alone."""
    default = parse({}, home=home).pipelines["home"]
    sources = {name: {**default.sources[name], "k": max(1, round(k * scale))} for name, k in SOURCES.items()}
    pipeline = {
        "sources": sources,
        "filters": default.filters,
        "features": default.features,
        "rank": default.rank,
        "rerank": {"use": "rerank.mmr:Mmr", "trade": 0.2},
        "fallback": default.fallback,
    }
    return parse({"pipelines": {"home": pipeline}}, home=home)


def prepare(home: Path, scale: float) -> Settings:
    """Stores and a published release below `home`."""
    return released(settings(home, scale))


def released(chosen: Settings) -> Settings:
    """The same settings, once MovieLens-1M is in the stores, trained and published."""
    stores = open_configured(chosen)
    try:
        frames = movielens_1m(folder("movielens-1m"))
        now = time_ns() // 1000
        if not stores.catalog.size("item"):
            load_frames(
                frames, stores.catalog, stores.log, kinds=chosen.kinds, now=now, rejects=chosen.home / "rejects"
            )
        data = read_window(chosen, stores.catalog, stores.log)
        version, _ = make_release(chosen, data, stores, created=datetime.now(UTC))
    finally:
        stores.close()
    publish(chosen.releases_path, version)
    return chosen


def candidates(runtime: Runtime, users: np.ndarray) -> float:
    """Median rows that reach the ranker."""
    rows = []
    for user in users:
        reply = runtime.recommend("home", ask(runtime, user))
        rows.append(next(step.rows_in for step in reply.trace.steps if step.stage == "rank"))
    return float(np.median(rows))


def ask(runtime: Runtime, user: int) -> object:
    return runtime.queries(np.array([user], np.int32), np.array([user], np.uint64))


def measure(runtime: Runtime, users: np.ndarray) -> tuple[np.ndarray, dict[str, list[float]]]:
    """(U,) seconds of each call, and seconds by stage."""
    stages: dict[str, list[float]] = defaultdict(list)
    total = np.empty(len(users))
    for i, user in enumerate(users):
        start = perf_counter()
        queries = ask(runtime, user)
        asked = perf_counter()
        reply = runtime.recommend("home", queries)
        stop = perf_counter()
        why = sum(step.seconds for step in reply.explained.steps)
        total[i] = stop - start - why
        stages["question"].append(asked - start)
        stages["because (not counted)"].append(why)
        for step in reply.trace.steps:
            stages[f"{step.stage} {step.name}".strip()].append(step.seconds)
    return total, stages


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--people", type=int, default=1000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home, scale = Path(place), 1.0
        chosen = prepare(home, scale)
        with Runtime.open(chosen) as runtime:
            users = np.random.default_rng(0).permutation(runtime.catalog.size("user"))[: given.people]
            reach = candidates(runtime, users[:100])
        if abs(reach - CANDIDATES) > 25:
            chosen = prepare(home, scale * CANDIDATES / reach)
        with Runtime.open(chosen) as runtime, threadpool_limits(1):
            reach = candidates(runtime, users[:100])  # a warm-up, too
            total, stages = measure(runtime, users)
    milliseconds = total * 1000
    middle, tail = np.median(milliseconds), np.percentile(milliseconds, 99)
    note = f"{len(SOURCES)} sources, {reach:.0f} candidates, MMR, {len(users)} people one at a time"
    print(f"{'stage':32} {'median ms':>10} {'p99 ms':>8}")
    rows = []
    for name, seconds in stages.items():
        p50, p99 = np.median(seconds) * 1000, np.percentile(seconds, 99) * 1000
        print(f"{name:32} {p50:10.3f} {p99:8.3f}")
        rows.append(Row("stage", "shortlist", "movielens-1m", "", "p50_ms", p50, note=name))
    print(f"{'all':32} {middle:10.3f} {tail:8.3f}   goal: median <= {GOAL_MS} ms; {note}")
    for metric, value in (("p50_ms", middle), ("p99_ms", tail)):
        rows.append(Row("recommend", "shortlist", "movielens-1m", "", metric, float(value), note=note))
    if given.json:
        write(given.json, "recommend", "movielens-1m", rows)


if __name__ == "__main__":
    main()
