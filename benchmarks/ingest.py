"""How fast a file becomes something to train on: `python -m benchmarks.ingest --json OUT`.

20 million generated interactions (seeded; text ids, popularity after Zipf, no order, one row in a hundred there twice)
go from CSV to a `Dataset` with its matrix both ways and every person's events in order of time. Shortlist checks each
row, drops repeats and keeps the events durably on the way, as `shortlist ingest` and `shortlist train` do; Polars and
DuckDB only drop repeats and make the same arrays. Each side works in a process of its own; they take turns, the best of
the repetitions counts. The arrays are compared. `--live` measures events over HTTP instead, see `benchmarks.live`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import polars as pl

from benchmarks import live
from benchmarks.rows import ROOT, Row, write

GOAL = 0.5  # of the rows a second of the faster peer
MOST = 4096  # MB at the peak
REPEATED = 0.01  # share of rows that are there twice
SECONDS = 3 * 365 * 86_400
FIRST = 1_600_000_000
BLOCK = 2_000_000

Answer = dict[str, Any]


def generated(rows: int, folder: Path) -> Path:
    """The file of `rows` interactions, made once."""
    path = folder / f"ingest-{rows}.csv"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(20_260)
    users, items = max(rows // 40, 10), max(rows // 300, 10)
    active = np.cumsum(chance.lognormal(0, 1.2, users))
    popular = np.cumsum(1 / (np.arange(items) + 20))
    names = pl.Series(chance.permutation(users) * 7919 % 2**31).cast(pl.String)
    user_ids, item_ids = "u" + names, "item-" + pl.Series(chance.permutation(items)).cast(pl.String)
    beside = path.with_suffix(".part")
    with beside.open("wb") as file:
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            twice = int(size * REPEATED)
            user = np.searchsorted(active, chance.random(size - twice) * active[-1])
            item = np.searchsorted(popular, chance.random(size - twice) * popular[-1])
            again = chance.integers(0, size - twice, twice)
            place = chance.permutation(np.concatenate((np.arange(size - twice), again)))
            frame = pl.DataFrame(
                {
                    "user_id": user_ids.gather(user[place]),
                    "item_id": item_ids.gather(item[place]),
                    "rating": chance.integers(1, 11, size - twice)[place] / 2,
                    "timestamp": FIRST + chance.integers(0, SECONDS, size - twice)[place],
                }
            )
            frame.write_csv(file, include_header=start == 0)
    beside.rename(path)
    return path


def shortlist(path: Path) -> Answer:
    """What `shortlist ingest` and the reading of `shortlist train` do."""
    from shortlist.batch.steps import open_configured
    from shortlist.batch.train import read_window
    from shortlist.config import Settings
    from shortlist.data.load import load
    from shortlist.data.mapping import Mapping as Columns

    mapping = Columns(str(path), value="rating", time="timestamp", kind="rate")
    with tempfile.TemporaryDirectory(dir=path.parent) as home:
        settings = Settings(home=Path(home))
        start = perf_counter()
        with open_configured(settings) as stores:
            rejects = Path(home) / "rejects.jsonl"
            summary = load(path, mapping, stores.catalog, stores.log, kinds=settings.kinds, now=2**51, rejects=rejects)
        loaded = perf_counter()
        with open_configured(settings, read_only=True) as stores:
            data = read_window(settings, stores.catalog, stores.log)
            lists = data.sequences
            by_user, by_item = data.matrix, data.matrix.T.tocsr()
        end = perf_counter()
    assert summary.rows == summary.accepted + summary.duplicate
    found = _found(lists.ptr, lists["time"], by_user.indptr, by_item.indptr)
    return {**found, "seconds": end - start, "load_seconds": loaded - start}


def polars(path: Path) -> Answer:
    start = perf_counter()
    events = pl.scan_csv(path).unique().collect()
    events = events.select(
        pl.col("user_id").cast(pl.Categorical("user")).to_physical().alias("user"),
        pl.col("item_id").cast(pl.Categorical("item")).to_physical().alias("item"),
        pl.col("rating").cast(pl.Float32),
        "timestamp",
    )
    events = events.sort("user", "timestamp")
    columns = {name: events[name].to_numpy() for name in events.columns}
    ptr = _pointers(columns["user"])
    pairs = events.select("user", "item").unique()
    by_user, by_item = pairs.sort("user", "item"), pairs.sort("item", "user")
    user_ptr, item_ptr = _pointers(by_user["user"].to_numpy()), _pointers(by_item["item"].to_numpy())
    by_user["item"].to_numpy(), by_item["user"].to_numpy()
    seconds = perf_counter() - start
    return {**_found(ptr, columns["timestamp"], user_ptr, item_ptr), "seconds": seconds}


def duckdb(path: Path) -> Answer:
    import duckdb as library

    start = perf_counter()
    db = library.connect()
    db.execute(f"CREATE TABLE row_ AS SELECT DISTINCT * FROM read_csv('{path}')")
    for name in ("user", "item"):
        db.execute(
            f"CREATE TABLE {name}_ AS SELECT {name}_id AS id, (row_number() OVER () - 1)::INTEGER AS code"
            f" FROM (SELECT DISTINCT {name}_id FROM row_)"
        )
    db.execute(
        "CREATE TABLE event AS SELECT u.code AS user_code, i.code AS item_code, rating::FLOAT AS rating, timestamp"
        " FROM row_ JOIN user_ u ON user_id = u.id JOIN item_ i ON item_id = i.id"
    )
    db.execute("DROP TABLE row_")
    lists = db.execute("SELECT * FROM event ORDER BY user_code, timestamp").fetchnumpy()
    ptr = _pointers(lists["user_code"])
    db.execute("CREATE TABLE pair AS SELECT DISTINCT user_code, item_code FROM event")
    by_user = db.execute("SELECT user_code, item_code FROM pair ORDER BY user_code, item_code").fetchnumpy()
    by_item = db.execute("SELECT item_code, user_code FROM pair ORDER BY item_code, user_code").fetchnumpy()
    user_ptr, item_ptr = _pointers(by_user["user_code"]), _pointers(by_item["item_code"])
    seconds = perf_counter() - start
    return {**_found(ptr, lists["timestamp"], user_ptr, item_ptr), "seconds": seconds}


JOBS: Mapping[str, Callable[[Path], Answer]] = {"shortlist": shortlist, "polars": polars, "duckdb": duckdb}


def _pointers(code: np.ndarray) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.bincount(code))))


def _found(ptr: np.ndarray, time: np.ndarray, user_ptr: np.ndarray, item_ptr: np.ndarray) -> Answer:
    """Sums that do not depend on how users and items are numbered, but on everything else."""
    first = 1_000_000 if time.max() > 10**12 else 1
    inner = np.arange(len(time)) - np.repeat(ptr[:-1], np.diff(ptr))
    return {
        "events": len(time),
        "order": int(np.sum(inner * (time // first - FIRST))),
        "pairs": int(user_ptr[-1]),
        "users": int(np.sum(np.diff(user_ptr) ** 2)),
        "items": int(np.sum(np.diff(item_ptr) ** 2)),
    }


def measured(job: str, path: Path) -> Answer:
    """One job in a fresh process."""
    words = [sys.executable, "-m", "benchmarks.ingest", "--job", job, "--file", str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{job} failed:\n{done.stderr}")
    answer: Answer = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{job:<10} {answer['seconds']:7.1f} s, {answer['cpu']:7.1f} s of CPU, {answer['peak_mb']:7,.0f} MB", flush=True
    )
    return answer


def run(job: str, path: Path) -> None:
    """What the fresh process does."""
    answer = JOBS[job](path)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**answer, "cpu": process_time(), "peak_mb": used.ru_maxrss / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--repeat", type=int, default=1, help="times each side does the job; the best counts")
    parser.add_argument("--only", choices=JOBS, help="one side")
    parser.add_argument("--live", action="store_true", help="events over HTTP instead of a file")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        run(given.job, given.file)
        return
    if given.live:
        live.main(given.json)
        return
    path = generated(given.rows, ROOT / ".benchmarks")
    answers: dict[str, list[Answer]] = {}
    for _ in range(given.repeat):
        for job in [given.only] if given.only else JOBS:
            answers.setdefault(job, []).append(measured(job, path))
    best = {job: min(some, key=lambda each: each["seconds"]) for job, some in answers.items()}
    facts = [{name: each[name] for name in ("events", "order", "pairs", "users", "items")} for each in best.values()]
    same = all(each == facts[0] for each in facts)
    rows = [row for job, answer in best.items() for row in _rows(job, answer, given.rows)]
    if not given.only:
        fastest = min(answer["seconds"] for job, answer in best.items() if job != "shortlist")
        ratio = fastest / best["shortlist"]["seconds"]
        met = ratio >= GOAL and best["shortlist"]["peak_mb"] <= MOST and same
        note = f"goal {GOAL} at a peak of {MOST} MB: {'met' if met else 'missed'}; same arrays: {same}"
        print(f"{ratio:.2f} of the rows a second of the faster peer; {note}")
        rows.append(Row("ingest", "shortlist", "generated", "", "share of the faster peer", ratio, note=note))
    if given.json:
        write(given.json, "ingest", "generated", rows)


def _rows(job: str, answer: Answer, rows: int) -> list[Row]:
    side = "shortlist" if job == "shortlist" else f"peer:{job}"
    params = {"rows": rows, **{name: value for name, value in answer.items() if name not in ("seconds", "peak_mb")}}
    seconds, peak = answer["seconds"], answer["peak_mb"]
    rates = (("rows/s", rows / seconds), ("rows per CPU second", rows / answer["cpu"]))
    return [
        Row("ingest", side, "generated", "", metric, value, seconds=seconds, peak_mb=peak, params=params)
        for metric, value in rates
    ]


if __name__ == "__main__":
    main()
