"""anime.csv and rating.csv for a benchmark, real or generated, with one liking of each person taken out of them.

The generated world has the size of the original: 73,516 people, 12,294 anime, 7.8 million ratings, -1 among them. Each
anime belongs to a circle, which no file names and which its genres only hint at; each person likes two to five circles
and draws from them by fame, which falls as a power of the rank. Everything comes from one seed; no name is a real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.splits import folder
from shortlist.data.anime import anime

USERS, ITEMS, RATINGS = 73_516, 12_294, 7_813_737
LEAST = 8  # a rating from here on is a liking
ENOUGH = 5  # likings of a person, for one to be taken out
UNRATED = 0.19  # share of what was watched: -1
CIRCLES = 60
ELSEWHERE = 0.03  # share of a person's choices that no circle of theirs explains
FLAT, FALL = 20, 1.0  # fame of the item of rank r is (r + FLAT) ** -FALL
GENRES = """Comedy Action Adventure Fantasy Drama Romance School Supernatural Magic Military Shounen Shoujo Seinen
Mystery Historical Horror Psychological Thriller Sports Music Parody Mecha Space Police Game Kids Demons Vampire
Samurai Cars Dementia Josei Harem"""
TYPES = {"TV": 0.31, "OVA": 0.27, "Movie": 0.19, "Special": 0.14, "ONA": 0.05, "Music": 0.04}
BLOCK = 1_000  # people at a time


@dataclass(frozen=True)
class Files:
    """Where anime.csv and rating.csv are, and what they hold."""

    folder: Path
    ratings: pl.DataFrame  # user, item, value: the rows of rating.csv
    withheld: pl.DataFrame  # user, item: likings that are not in it, at most one a person
    genres: dict[str, tuple[str, ...]]  # by item

    @staticmethod
    def read(home: Path) -> Files:
        ids = {"user_id": pl.String, "anime_id": pl.String}
        ratings, withheld = (pl.read_csv(home / name, schema_overrides=ids) for name in ("rating.csv", "withheld.csv"))
        items = pl.read_csv(home / "anime.csv", schema_overrides=ids)
        genres = {
            item: tuple(dict.fromkeys(genre.strip() for genre in (text or "").split(",") if genre.strip()))
            for item, text in zip(items["anime_id"], items["genre"], strict=True)
        }
        names = {"user_id": "user", "anime_id": "item", "rating": "value"}
        return Files(home, ratings.rename(names), withheld.rename(names, strict=False), genres)


def real(home: Path, rows: int = 0) -> Files:
    """Everything of the original that can be had; its first `rows` ratings alone, unless 0."""
    frames = anime(folder("anime"))
    value = pl.when(pl.col("kind") == "view").then(-1).otherwise(pl.col("value")).cast(pl.Int64)
    ratings = frames.events.select("user", "item", value.alias("value"))
    home.mkdir(parents=True, exist_ok=True)
    (home / "anime.csv").write_bytes((folder("anime") / "anime.csv").read_bytes())
    _write(home, ratings.head(rows) if rows else ratings, np.random.default_rng(0))
    return Files.read(home)


def generated(home: Path, *, users: int = USERS, items: int = ITEMS, ratings: int = RATINGS, seed: int = 0) -> Files:
    """The world of that size, made once."""
    if not (home / "withheld.csv").exists():
        home.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        circle = rng.integers(0, CIRCLES, items)
        fame = (rng.permutation(items) + FLAT) ** -FALL
        quality = rng.normal(0, 0.8, items)
        ids = np.sort(rng.choice(np.arange(1, 3 * items), items, replace=False))
        drawn = _drawn(rng, _many(rng, users, items, ratings), circle, fame)
        user, item, fond = (np.concatenate(column) for column in zip(*drawn, strict=True))
        value = np.clip(np.round(7.4 + 1.2 * fond + quality[item] + rng.normal(0, 1.0, len(item))), 1, 10)
        value[rng.random(len(value)) < UNRATED] = -1
        frame = pl.DataFrame({"user": user + 1, "item": ids[item], "value": value.astype(np.int64)})
        members = np.bincount(item, minlength=items)
        rated = frame.filter(pl.col("value") > 0).group_by("item").agg(pl.col("value").mean().round(2).alias("rating"))
        _catalogue(rng, ids, circle, members).join(
            rated.rename({"item": "anime_id"}), "anime_id", "left", maintain_order="left"
        ).select("anime_id", "name", "genre", "type", "episodes", "rating", "members").write_csv(home / "anime.csv")
        _write(home, frame, rng)
    return Files.read(home)


def _many(rng: np.random.Generator, users: int, items: int, ratings: int) -> NDArray[np.int64]:
    """(U,) how many each person rates, heavy-tailed; `ratings` in all, but for rounding."""
    share, low, high = rng.lognormal(0, 1.2, users), 0.0, float(ratings)
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        short = np.clip(middle * share, 1, items // 2).sum() < ratings
        low, high = (middle, high) if short else (low, middle)
    return np.clip(high * share, 1, items // 2).round().astype(np.int64)


def _drawn(
    rng: np.random.Generator, many: NDArray[np.int64], circle: NDArray[np.int64], fame: NDArray[np.float64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]]:
    """People, what they draw without replacement (Efraimidis, Spirakis 2006), and whether it is of a circle of theirs;
    in blocks, sorted by both."""
    blocks = []
    for start in range(0, len(many), BLOCK):
        size = many[start : start + BLOCK]
        liked = rng.random((len(size), CIRCLES)).argsort(axis=1)
        depth = 0.7 ** np.arange(CIRCLES) * (np.arange(CIRCLES) < rng.integers(2, 6, len(size))[:, None])
        taste = np.empty(depth.shape)
        np.put_along_axis(taste, liked, depth / depth.sum(axis=1, keepdims=True), axis=1)
        weight = ((1 - ELSEWHERE) * taste + ELSEWHERE / CIRCLES).astype(np.float32)
        key = rng.standard_exponential((len(size), len(circle)), np.float32)
        key /= weight[:, circle] * fame.astype(np.float32)
        for row, count in enumerate(size.tolist()):
            item = np.sort(np.argpartition(key[row], count)[:count])
            blocks.append((np.full(count, start + row), item, taste[row, circle[item]] > 0))
    return blocks


def _catalogue(
    rng: np.random.Generator, ids: NDArray[np.int64], circle: NDArray[np.int64], members: NDArray[np.int64]
) -> pl.DataFrame:
    """What anime.csv says of each item. The genres of a circle are more likely in it than elsewhere."""
    names = GENRES.split()
    usual = (np.arange(len(names)) + 2.0) ** -0.8
    own = rng.random((CIRCLES, len(names))) < 0.1
    chance = usual + 0.5 * own[circle]
    key = rng.standard_exponential(chance.shape) / chance
    order, count = key.argsort(axis=1), rng.integers(1, 6, len(ids))
    genres = [", ".join(sorted(names[g] for g in row[:size])) for row, size in zip(order, count, strict=True)]
    episodes = np.where(rng.random(len(ids)) < 0.03, "Unknown", rng.integers(1, 53, len(ids)).astype(str))
    kinds = rng.choice(list(TYPES), len(ids), p=list(TYPES.values()))
    return pl.DataFrame(
        {
            "anime_id": ids,
            "name": [f"Story {each}" for each in ids.tolist()],
            "genre": genres,
            "type": kinds.tolist(),
            "episodes": episodes.tolist(),
            "members": members,
        }
    )


def _write(home: Path, ratings: pl.DataFrame, rng: np.random.Generator) -> None:
    """rating.csv, and withheld.csv with one liking, drawn by lot, of everybody who has ENOUGH."""
    lot = pl.DataFrame({"lot": rng.random(len(ratings)), "row": np.arange(len(ratings))})
    likings = ratings.hstack(lot).filter(pl.col("value") >= LEAST)
    first = likings.sort("lot").group_by("user", maintain_order=True).agg(pl.len(), pl.col("item", "row").first())
    taken = first.filter(pl.col("len") >= ENOUGH)
    again = taken.join(ratings.group_by("user", "item").len("times"), ["user", "item"]).filter(pl.col("times") == 1)
    names = {"user": "user_id", "item": "anime_id", "value": "rating"}
    kept = ratings.filter(~pl.Series(np.isin(np.arange(len(ratings)), again["row"].to_numpy())))
    kept.rename(names).write_csv(home / "rating.csv")
    again.sort("user").select("user", "item").rename(names, strict=False).write_csv(home / "withheld.csv")
