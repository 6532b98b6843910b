"""The blueprints of ads, a shop and films, each on data of its own, for `python -m benchmarks.blueprints`.

Ads and the shop are generated with the truth behind them, ads at the full size of the original: 1.14 million people,
26.6 million impressions. Films are MovieLens-1M in a SQLite database, from which one command makes everything.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl

from benchmarks.blueprints import Done, command, cpu_of, peak_of, served
from benchmarks.rows import Row
from benchmarks.splits import folder
from shortlist.data import ads, shop
from shortlist.data.frames import Frames
from shortlist.data.movielens import movielens_1m
from shortlist.eval import ctr

PEOPLE = 200  # asked one at a time, in each scenario
PLACES = 20
MEASURES = (*ctr.MEASURES,)
Answer = Mapping[str, Any]


def run_ads(home: Path, scale: float, people: int = PEOPLE) -> Iterator[Row]:
    """Every ranker on the impressions of the last day beside the truth; pages by place on the page."""
    world = ads.generate(scale=scale)
    ads.write(home, world.users, world.ads, world.impressions)
    size = f"ads-{scale:g}"
    made = _Made("ads", size, home)
    yield from made.steps(
        ("init", "--blueprint", "ads"), ("ingest",), ("evaluate", "--impressions", "1d"), ("train",), ("publish",)
    )
    judged = made.said["evaluate"]["pipelines"]
    late = world.last_day
    label, user = world.impressions["clk"].to_numpy()[late].astype(np.float32), world.impressions["user"].to_numpy()
    truth = ctr.measured({"truth": world.truth[late]}, label, user[late], resamples=30)
    figures = {"truth": {measure: truth["truth", measure]._asdict() for measure in MEASURES}, **judged}
    for name, each in figures.items():
        for measure in MEASURES:
            value = (each[measure]["value"], each[measure]["low"], each[measure]["high"])
            yield Row(f"ads {name}", "shortlist", size, "last-day", measure, *value)
    often = world.impressions["user"].value_counts(sort=True)["user"].head(people).cast(pl.String).to_list()
    with served(home) as (url, pid, seconds), httpx.Client(base_url=url, timeout=60) as client:
        yield made.row("serve", seconds, peak_of(pid), cpu_of(pid))
        for scenario in judged:

            def ask(who: str, place: str, scenario: str = scenario) -> httpx.Response:
                body = {"user_id": who, "scenario": scenario, "facts": {"pid": place}, "seed": 0}
                return client.post("/v1/recommend", json=body)

            def promises(who: str, ask: Callable[[str, str], httpx.Response] = ask) -> dict[str, bool]:
                pages = [ask(who, place) for place in ads.PLACES]
                scores = [[item["score"] for item in page.json().get("items", [])] for page in pages]
                return {
                    **_plain(pages[0]),
                    "probable": all(score is not None and 0 < score < 1 for each in scores for score in each),
                    "place_counts": scores[0] != scores[1],
                }

            yield from made.kept(scenario, [*often, *(f"stranger-{n}" for n in range(people // 10))], promises)


def run_shop(home: Path, scale: float, people: int = PEOPLE) -> Iterator[Row]:
    """What pages of strangers with a profile are worth to them, by the truth, beside what is popular."""
    world = shop.generate(scale=scale)
    shop.write(home, world)
    size = f"shop-{scale:g}"
    made = _Made("ecommerce", size, home)
    yield from made.steps(("init", "--blueprint", "ecommerce"), ("ingest",), ("train",), ("evaluate",), ("publish",))
    for row in made.said["evaluate"]["rows"]:
        if row["metric"] == "ndcg@10" and row["segment"] == "all" and row["system"] in ("home", "popular"):
            value = (row["value"], row["low"], row["high"])
            yield Row(f"ecommerce {row['system']}", "shortlist", size, "leave-last", "ndcg@10", *value)
    place = {sku: row for row, sku in enumerate(world.products["sku"].cast(pl.String).to_list())}
    fame = world.events["sku"].value_counts(sort=True)["sku"].head(PLACES).cast(pl.String).to_list()
    drawn = np.random.default_rng(0).choice(len(world.users), min(people, len(world.users)), replace=False)
    facts = world.users.drop("user_id").cast(pl.String).rows(named=True)
    twins = {f"twin-{row}": int(row) for row in drawn}  # of people in the files: their profile, nothing else

    def worth(who: str, items: Sequence[str]) -> float:
        rows = np.array([place[each] for each in items if each in place])
        return float(world.liking(np.full(len(rows), twins[who]), rows).mean())

    with served(home) as (url, pid, seconds), httpx.Client(base_url=url, timeout=60) as client:
        yield made.row("serve", seconds, peak_of(pid), cpu_of(pid))
        for who, row in twins.items():
            fields = {name: value for name, value in facts[row].items() if value is not None}
            client.put(f"/v1/users/{who}", json={"fields": fields}).raise_for_status()
        for scenario in ("home", "towers"):
            liked: list[float] = []
            famous: list[float] = []

            def promises(
                who: str, scenario: str = scenario, liked: list[float] = liked, famous: list[float] = famous
            ) -> dict[str, bool]:
                page = client.post("/v1/recommend", json={"user_id": who, "scenario": scenario, "seed": 0})
                liked.append(worth(who, [item["id"] for item in page.json().get("items", [])]))
                famous.append(worth(who, fame))
                return _plain(page)

            yield from made.kept(scenario, list(twins), promises)
            gap = np.array(liked) - np.array(famous)
            note = f"true liking of a page by {len(gap)} strangers with a profile, above that of what is bought most"
            spread = 1.96 * float(gap.std()) / len(gap) ** 0.5
            value = (float(gap.mean()), float(gap.mean()) - spread, float(gap.mean()) + spread)
            yield Row(
                f"ecommerce {scenario}", "shortlist", size, "strangers", "liking-minus-popular", *value, note=note
            )

        def found(who: str) -> dict[str, bool]:
            ask = {"user_id": who, "scenario": "towers", "seed": 0}
            best = client.post("/v1/recommend", json={**ask, "fields": ["brand", "shop", "cate"]}).json()["items"][0]
            client.put(f"/v1/items/new-{who}", json={"fields": best["fields"]}).raise_for_status()
            after = client.post("/v1/recommend", json={**ask, "n": 100}).json()["items"]
            return {"found": f"new-{who}" in [item["id"] for item in after]}

        yield from made.kept("new-products", list(twins)[: people // 10], found)


def run_films(home: Path, frames: Frames | None = None) -> Iterator[Row]:
    """MovieLens-1M (or `frames`) in SQLite, and one command: what it took, and how far each model's ratings are off."""
    set_name = "movielens-1m" if frames is None else frames.name
    frames = movielens_1m(folder("movielens-1m")) if frames is None else frames
    titles = in_sqlite(home / "movies.db", frames)
    rated = frames.events.filter(pl.col("kind") == "rate")["user"]
    who = str(rated[0])
    made = _Made("movies", set_name, home)
    words = ("predict", who, *titles[:3], "--from", "sqlite:///movies.db", "--into", "recommendations")
    yield from made.steps(words)
    said = made.said["predict"]
    for name, errors in said["ratings"].items():
        for error, each in errors.items():
            yield Row(
                f"movies {name}", "shortlist", set_name, "leave-last", error, each["value"], each["low"], each["high"]
            )
    for row in said["evaluation"]["rows"]:
        if row["segment"] == "all" and row["metric"] in ("ndcg@10", "hit@10"):
            value = (row["value"], row["low"], row["high"])
            yield Row(f"movies {row['system']}", "shortlist", set_name, "leave-last", row["metric"], *value)
    with sqlite3.connect(home / "movies.db") as connection:
        people, places = connection.execute("SELECT count(DISTINCT user_id), count(*) FROM recommendations").fetchone()
    connection.close()
    everyone = rated.n_unique() if not len(frames.users) else len(frames.users)
    yield made.promise("lists", "written", people, everyone)
    yield made.promise("lists", "full", places, everyone * PLACES)
    yield made.promise("predict", "answered", len(said["items"]), len(set(titles[:3])))


def in_sqlite(file: Path, frames: Frames) -> list[str]:
    """The three tables of the blueprint movies; the titles."""
    items, events = frames.items, frames.events.filter(pl.col("kind") == "rate")
    people = frames.users if len(frames.users) else events.select("user").unique(maintain_order=True)

    def column(table: pl.DataFrame, name: str) -> list[Any]:
        return table[name].to_list() if name in table.columns else [None] * len(table)

    years = [None if year is None else f"{year:.0f}-01-01" for year in column(items, "year")]
    genres = ["|".join(each or ()) for each in column(items, "genres")]
    films = zip(column(items, "item"), column(items, "title"), years, genres, strict=True)
    users = zip(*(column(people, name) for name in ("user", "age", "gender", "occupation", "zip")), strict=True)
    rated = zip(
        range(len(events)),
        *(column(events, name) for name in ("user", "item", "value")),
        (events["time"] // 1_000_000).to_list(),
        strict=True,
    )
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "CREATE TABLE users (user_id TEXT PRIMARY KEY, age TEXT, gender TEXT, occupation TEXT, zipcode TEXT);"
            "CREATE TABLE movies (movie_id TEXT PRIMARY KEY, title TEXT, release_date TEXT, genre TEXT);"
            "CREATE TABLE ratings (rating_id INTEGER PRIMARY KEY, user_id TEXT REFERENCES users (user_id),"
            " movie_id TEXT REFERENCES movies (movie_id), rating REAL, timestamp INTEGER);"
        )
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)", [tuple(map(_text, row)) for row in users])
        connection.executemany("INSERT INTO movies VALUES (?, ?, ?, ?)", films)
        connection.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?, ?)", rated)
    connection.close()
    return [str(each) for each in column(items, "title")]


class _Made:
    """An installation of one blueprint, and the rows of what its commands cost."""

    def __init__(self, name: str, set_name: str, home: Path) -> None:
        self.name, self.set_name, self.home = name, set_name, home
        self.said: dict[str, Answer] = {}

    def steps(self, *commands: Sequence[str]) -> Iterator[Row]:
        for words in commands:
            done: Done = command(self.home, *words)
            self.said[words[0]] = done.said
            yield self.row(words[0], done.seconds, done.peak_mb, done.cpu)

    def row(self, what: str, seconds: float, peak_mb: float, cpu: float) -> Row:
        _say(f"{self.set_name} {self.name} {what}: {seconds:.1f} s, {cpu:.1f} s of CPU, {peak_mb:,.0f} MB")
        params = {"cpu_seconds": cpu}
        return Row(
            f"{self.name} {what}", "shortlist", self.set_name, "", "seconds", seconds, peak_mb=peak_mb, params=params
        )

    def kept(self, scenario: str, asked: Sequence[str], promises: Callable[[str], dict[str, bool]]) -> Iterator[Row]:
        """How many of those who ask find each promise kept."""
        kept: Counter[str] = Counter()
        names: dict[str, None] = {}
        for who in asked:
            told = promises(who)
            names.update(dict.fromkeys(told))
            kept.update(name for name, holds in told.items() if holds)
        for name in names:
            yield self.promise(scenario, name, kept[name], len(asked))

    def promise(self, scenario: str, name: str, kept: int, asked: int) -> Row:
        _say(f"{self.set_name} {self.name} {scenario}: {name} {kept:,} of {asked:,}")
        params = {"asked": asked}
        return Row(f"{self.name} {scenario}", "shortlist", self.set_name, "", name, kept, params=params)


def _plain(answer: httpx.Response) -> dict[str, bool]:
    ids = [item["id"] for item in answer.json().get("items", [])]
    return {
        "answered": answer.status_code == 200,
        "non_empty": bool(ids),
        "full": len(ids) == PLACES,
        "allowed_only": len(set(ids)) == len(ids),
    }


def _text(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else str(value)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
