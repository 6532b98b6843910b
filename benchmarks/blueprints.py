"""The blueprints from files to answers: `python -m benchmarks.blueprints [NAME...] [--quick] --json OUT`.

For each blueprint, on the real anime data and on a generated world of the full size (see `benchmarks.anime_files`): a
new installation by the public commands, init to serve, each with its seconds and its peak of memory; then lists are
asked for over HTTP and compared with what the files say. One liking of each person was taken out of the files: what the
lists find of them stands beside what popularity finds. `--quick` takes a hundredth.

ads, ecommerce and movies have data of their own: see `benchmarks.systems`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx
import numpy as np
import polars as pl

from benchmarks.anime_files import ITEMS, LEAST, RATINGS, USERS, Files, generated, real
from benchmarks.rows import ROOT, Row, write
from shortlist import config
from shortlist.config import PipelineTable
from shortlist.eval.bootstrap import intervals

NAMES = ("anime", "item2vec")
OTHERS = ("ads", "ecommerce", "movies")  # with data of their own
COMMANDS = (("init", "--blueprint"), ("ingest",), ("train",), ("evaluate",), ("publish",))
PEOPLE = 200  # asked one at a time, in each scenario; a tenth as many strangers, half as many items
JUDGED = 2_000  # people, at most, whose lists are searched for what was taken out
BATCH = 500
CLICKED = 20  # people who click, half of them strangers
PLACES, CUT = 20, 10
PRIOR = 100  # of high rated, in the blueprint
NOW = 1_700_000_000_000_000  # microseconds: when the small world of films ends
TICK = 0.1  # seconds between two looks at a process

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """What a command said, and what it cost."""

    said: Answer
    seconds: float
    cpu: float  # seconds
    peak_mb: float


@dataclass(frozen=True)
class Truth:
    """What the files say about the people who are asked, and about every item."""

    known: Sequence[str]  # those who are asked one at a time
    judged: Sequence[str]
    withheld: Mapping[str, str]  # by person
    seen: Mapping[str, set[str]]
    worth: Mapping[str, Mapping[str, float]]  # by the source that lists by it, of every item it may list, best first

    @staticmethod
    def of(files: Files, people: int) -> Truth:
        drawn = files.withheld.sample(min(JUDGED, len(files.withheld)), seed=0)
        judged = drawn["user"].to_list()
        mine = files.ratings.filter(pl.col("user").is_in(judged)).group_by("user").agg("item")
        rated = files.ratings.filter(pl.col("value") > 0).group_by("user", "item", maintain_order=True)
        pair = rated.agg(pl.first("value"), pl.last("value").alias("last"))
        liked = pair.filter(pl.col("value") >= LEAST).group_by("item").agg(pl.len().alias("worth"))
        shrunk = (pl.sum("last") + PRIOR * pair["last"].mean()) / (pl.len() + PRIOR)
        by_source = {"most_rated": liked, "high_rated": pair.group_by("item").agg(shrunk.alias("worth"))}
        return Truth(
            judged[:people],
            judged,
            dict(drawn.select("user", "item").iter_rows()),
            {user: set(items) for user, items in mine.iter_rows()},
            {source: dict(each.sort("worth", descending=True).iter_rows()) for source, each in by_source.items()},
        )

    def best(self, source: str, user: str, k: int) -> list[str]:
        """The k items worth most that the person has not met."""
        seen = self.seen.get(user, set())
        return list(islice((item for item in self.worth[source] if item not in seen), k))


def run(name: str, set_name: str, files: Files, home: Path, people: int = PEOPLE) -> list[Row]:
    """Install, ask, compare: every row of one blueprint on one set. `home` is an empty folder."""
    for file in ("anime.csv", "rating.csv"):
        os.link(files.folder / file, home / file)
    truth = Truth.of(files, people)
    rows: list[Row] = []

    def add(what: str, metric: str, value: float, **more: Any) -> None:
        rows.append(Row(f"{name} {what}", "shortlist", set_name, "", metric, value, **more))

    for words in COMMANDS:
        done = command(home, *words, *([name] if words[0] == "init" else []))
        params = {"cpu_seconds": done.cpu, **_params(words[0], done.said)}
        add(words[0], "seconds", done.seconds, peak_mb=done.peak_mb, params=params)
        _say(f"{set_name} {name} {words[0]}: {done.seconds:.1f} s, {done.cpu:.1f} s of CPU, {done.peak_mb:,.0f} MB")
        if words[0] == "evaluate":
            rows += _evaluated(f"{name} evaluate", set_name, done.said)
    with served(home) as (url, pid, seconds), httpx.Client(base_url=url, timeout=60) as client:
        params = {"cpu_seconds": cpu_of(pid)}
        add(
            "serve", "seconds", seconds, peak_mb=peak_of(pid), params=params, note="until the first answer can be given"
        )
        start = perf_counter()
        pipelines = config.load(home, {}).pipelines
        for scenario, pipeline in pipelines.items():
            counts = (
                _lists(client, scenario, pipeline, truth)
                if scenario != "similar"
                else _similar(client, files, people // 2)
            )
            for metric, (count, asked) in counts.items():
                add(scenario, metric, count, params={"asked": asked})
                _say(f"{set_name} {name} {scenario}: {metric} {count:,} of {asked:,}")
        rows += _found(name, set_name, client, truth)
        for scenario in [each for each in ("recent_clicks", "home") if each in pipelines]:
            changed = _clicked(client, scenario, truth)
            add(scenario, "changed", changed, params={"asked": CLICKED}, note="the next list, by one click")
            _say(f"{set_name} {name} {scenario}: changed by a click {changed} of {CLICKED}")
        params = {"cpu_seconds": cpu_of(pid) - params["cpu_seconds"]}
        taken = perf_counter() - start
        add("ask", "seconds", taken, peak_mb=peak_of(pid), params=params, note="every question over HTTP")
    return rows


def command(home: Path, *words: str) -> Done:
    """`shortlist WORDS --json` in `home`, as a process of its own."""
    start, before = perf_counter(), _children()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as told:
        process = subprocess.Popen(_shortlist(*words), cwd=home, stdout=out, stderr=told)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            sleep(TICK)
        seconds = perf_counter() - start
        out.seek(0)
        told.seek(0)
        if process.returncode:
            raise SystemExit(f"shortlist {' '.join(words)} failed ({process.returncode}):\n{told.read().decode()}")
        return Done(json.loads(out.read()), seconds, _children() - before, peak)


@contextmanager
def served(home: Path) -> Iterator[tuple[str, int, float]]:
    """`shortlist serve` in `home`: its address, its process, the seconds until it was ready."""
    start = perf_counter()
    words = _shortlist("serve", "--port", "0")
    with (
        tempfile.TemporaryFile() as told,
        subprocess.Popen(words, cwd=home, stdout=subprocess.PIPE, stderr=told) as server,
    ):
        try:
            assert server.stdout is not None
            yield json.loads(server.stdout.readline())["url"], server.pid, perf_counter() - start
        finally:
            server.terminate()


def _shortlist(*words: str) -> list[str]:
    return [sys.executable, "-m", "shortlist.cli", *words, "--json"]


def _children() -> float:
    """Seconds of CPU of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(pid: int) -> float:
    """MB that a process has had in memory at most; 0 when it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024 if "VmHWM:" in status else 0.0


def _params(step: str, said: Answer) -> dict[str, Any]:
    """What belongs to the seconds of a command."""
    if step == "ingest":
        return {each["entity"]: each["accepted"] for each in said["sources"]}
    if step == "train":
        return {key: said["facts"][key] for key in ("events", "users", "items", "seconds")}
    if step == "publish":
        return {"failed": said["failed"], "seconds": said["seconds"]}
    return {"seconds": said["seconds"], "questions": said["questions"]} if step == "evaluate" else {}


def _evaluated(model: str, set_name: str, said: Answer) -> Iterator[Row]:
    for row in said["rows"]:
        if row["metric"] == said["main"] and row["segment"] == "all" and row["system"] in ("home", "popular"):
            note = f"{row['n']:,} people"
            interval = (row["value"], row["low"], row["high"])
            yield Row(
                f"{model} {row['system']}", "shortlist", set_name, said["split"], said["main"], *interval, note=note
            )


def _lists(client: httpx.Client, scenario: str, pipeline: PipelineTable, truth: Truth) -> dict[str, tuple[int, int]]:
    """Of each promise: how many lists keep it, of how many."""
    asked: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for seed, user in enumerate([*truth.known, *(f"stranger-{n}" for n in range(len(truth.known) // 10))]):
        question = {"user_id": user, "scenario": scenario, "seed": seed, "fields": ["genres"]}
        answer = client.post("/v1/recommend", json=question)
        promises = _plain(answer, truth.seen.get(user, set()))
        items = answer.json().get("items", [])
        if cap := _cap(pipeline):
            genres = Counter(genre for item in items for genre in item["fields"].get("genres", ()))
            promises["spread"] = max(genres.values(), default=0) <= cap
        if set(pipeline.sources) <= set(truth.worth):
            (source,) = pipeline.sources
            wanted = [truth.worth[source][item] for item in truth.best(source, user, PLACES)]
            found = [truth.worth[source].get(item["id"], 0) for item in items]
            promises["best"] = len(found) == len(wanted) and np.allclose(found, wanted, rtol=1e-5)
        if user in truth.withheld:
            named = {source for item in items for source in item["sources"]}
            promises |= {f"from {source}": source in named for source in pipeline.sources}
        asked.update(promises)
        kept.update(promise for promise, holds in promises.items() if holds)
    return {promise: (kept[promise], count) for promise, count in asked.items()}


def _plain(answer: httpx.Response, closed: set[str]) -> dict[str, bool]:
    """What every list promises; `closed` may not be on it."""
    ids = [item["id"] for item in answer.json().get("items", [])]
    return {
        "answered": answer.status_code == 200,
        "non_empty": bool(ids),
        "full": len(ids) == PLACES,
        "allowed_only": len(set(ids)) == len(ids) and not closed & set(ids),
    }


def _cap(pipeline: PipelineTable) -> int:
    """How many of a genre may stand on a page, 0 = any number."""
    return next((step["cap"] for step in (pipeline.rerank or {}).get("steps", ()) if "cap" in step), 0)


def _similar(client: httpx.Client, files: Files, items: int) -> dict[str, tuple[int, int]]:
    """As `_lists`, for items: half of them as often as they are rated, half of them any."""
    chance = np.random.default_rng(0)
    half = items // 2
    often = files.ratings["item"].gather(chance.integers(0, len(files.ratings), half)).to_list()
    asked = [*often, *chance.choice(sorted(files.genres), half, replace=False).tolist()]
    kept: Counter[str] = Counter()
    for item in asked:
        promises = _plain(client.get(f"/v1/items/{item}/similar"), {item})
        kept.update(promise for promise, holds in promises.items() if holds)
    return {promise: (kept[promise], len(asked)) for promise in promises}


def _found(name: str, set_name: str, client: httpx.Client, truth: Truth) -> Iterator[Row]:
    """NDCG@10 of what was taken out: of home, of popularity, and the paired difference."""
    shown: list[list[str]] = []
    for start in range(0, len(truth.judged), BATCH):
        some = truth.judged[start : start + BATCH]
        asked = {"requests": [{"user_id": user, "seed": start + n, "n": CUT} for n, user in enumerate(some)]}
        results = client.post("/v1/recommend:batch", json=asked).raise_for_status().json()["results"]
        shown += [[item["id"] for item in each["answer"]["items"]] for each in results]
    wanted = [truth.withheld[user] for user in truth.judged]
    ours = _gain(shown, wanted)
    popular = _gain([truth.best("most_rated", user, CUT) for user in truth.judged], wanted)
    columns = {("home", "ndcg"): ours, ("popular", "ndcg"): popular, ("home", "gap"): ours - popular}
    note = f"one liking of each of {len(wanted):,} people, which the files do not hold"
    for (system, what), found in intervals(columns).items():
        metric = f"ndcg@{CUT}" + ("-minus-popular" if what == "gap" else "")
        interval = found.value, found.low, found.high
        yield Row(f"{name} {system}", "shortlist", set_name, "withheld", metric, *interval, note=note)
        _say(f"{set_name} {name} {system}: {metric} {found.value:.4f} ({found.low:.4f} to {found.high:.4f})")


def _gain(shown: Sequence[Sequence[str]], wanted: Sequence[str]) -> np.ndarray:
    """(B,) 1 / log2(1 + rank) of the one right answer, 0 where it is not shown."""
    rank = [items.index(item) + 1 if item in items else np.inf for items, item in zip(shown, wanted, strict=True)]
    return 1 / np.log2(1 + np.array(rank, np.float64))


def _clicked(client: httpx.Client, scenario: str, truth: Truth) -> int:
    """How many get another list after they clicked something new to them, which is not on it."""
    half = CLICKED // 2
    strangers = [f"{scenario}-{n}" for n in range(half)]
    changed = 0
    for seed, user in enumerate([*truth.known[:half], *strangers]):
        asked = {"user_id": user, "scenario": scenario, "seed": seed}

        def ask(asked: Mapping[str, Any] = asked) -> list[str]:
            return [item["id"] for item in client.post("/v1/recommend", json=asked).raise_for_status().json()["items"]]

        before = ask()
        item = next(each for each in truth.best("most_rated", user, 200 + seed)[seed:] if each not in before)
        event = {"user_id": user, "item_id": item, "type": "click"}
        client.post("/v1/events", json={"events": [event]}).raise_for_status()
        after = ask()
        changed += after != before and item not in after and len(after) == PLACES
    return changed


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = (*NAMES, *OTHERS)
    parser.add_argument("names", nargs="*", metavar="NAME", default=every, help=f"of {', '.join(every)}; default: all")
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--quick", action="store_true", help="a hundredth of the ratings")
    parser.add_argument("--set", choices=("anime", "generated"), action="append", help="one of the sets; default: both")
    given = parser.parse_args()
    if unknown := set(given.names) - {*NAMES, *OTHERS}:
        parser.error(f"no such blueprint: {', '.join(sorted(unknown))}; there are: {', '.join((*NAMES, *OTHERS))}")
    place = ROOT / ".benchmarks"
    place.mkdir(exist_ok=True)
    made: Mapping[str, Callable[[Path], Files]] = {
        "anime": lambda home: real(home, RATINGS // 1000 if given.quick else 0),
        "generated": lambda home: small(home) if given.quick else generated(place / "anime"),
    }
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=place) as folder:
        named = [name for name in given.names if name in NAMES]
        for set_name in (given.set or made) if named else ():
            start = perf_counter()
            files = made[set_name](Path(folder) / set_name)
            _say(f"{set_name}: {len(files.ratings):,} ratings, made in {perf_counter() - start:.1f} s")
            for name in named:
                home = Path(folder) / f"{set_name}-{name}"
                home.mkdir()
                rows += run(name, set_name, files, home)
                shutil.rmtree(home)
                if given.json:  # what is done is kept
                    write(given.json, "blueprints", "anime", rows)
        for name in [name for name in given.names if name in OTHERS]:
            home = Path(folder) / name
            home.mkdir()
            rows += other(name, home, quick=given.quick)
            shutil.rmtree(home)
            if given.json:
                write(given.json, "blueprints", "anime", rows)


def other(name: str, home: Path, *, quick: bool) -> list[Row]:
    """Every row of a blueprint that has data of its own."""
    from benchmarks import systems
    from shortlist.data.world import generate

    if name == "ads":
        return list(systems.run_ads(home, 0.01 if quick else 1.0))
    if name == "ecommerce":
        return list(systems.run_shop(home, 0.001 if quick else 0.02))
    return list(systems.run_films(home, generate(now=NOW).frames if quick else None))


def small(home: Path) -> Files:
    """A hundredth of the people and the ratings, a tenth of the items: everybody rates as many."""
    return generated(home, users=USERS // 100, items=ITEMS // 10, ratings=RATINGS // 100)


if __name__ == "__main__":
    main()
