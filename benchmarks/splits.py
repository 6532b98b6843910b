"""The sets of the quality benchmark and the protocols they are reported under; the first is the default."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping

import polars as pl

from benchmarks import sets
from shortlist.dataset import Dataset
from shortlist.eval.protocol import Split, global_time, hold_out, leave_last, published


def movielens_100k() -> Dataset:
    """MovieLens-100K: 943 people, 1,682 films, 100,000 ratings, all of them likings."""
    names = ["user", "item", "rating", "time"]
    table = pl.read_csv(sets.folder("movielens-100k") / "u.data", separator="\t", has_header=False, new_columns=names)
    table = table.with_columns(pl.col("time") * 1_000_000)
    return sets._dataset(*(table[name].to_numpy() for name in names))


def anime() -> Dataset:
    """What 5,000 people watched of 7,390 anime: 520,609 pairs, no times."""
    archive = zipfile.ZipFile(sets.folder("anime") / "anime.zip")
    table = pl.read_csv(archive.read("anime_history.dat"), separator="\t").rename(str.lower)
    table = table.with_columns(time=0)
    return sets._dataset(*(table[name].to_numpy() for name in ("user_id", "anime_id", "feedback", "time")))


SPLITS: Mapping[str, Mapping[str, Callable[[], Split]]] = {
    "movielens-1m": {
        "leave-last": lambda: leave_last(sets.movielens_1m()),
        "global": lambda: global_time(sets.movielens_1m()),
    },
    "movielens-100k": {
        "leave-last": lambda: leave_last(movielens_100k()),
        "global": lambda: global_time(movielens_100k()),
    },
    "anime": {"published": lambda: hold_out(anime())},
    "gowalla": {"published": lambda: published(*sets.gowalla())},
}
