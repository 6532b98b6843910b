"""The data sets of the benchmarks as `Dataset`s, read from the folder named by SHORTLIST_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.errors import NotFound
from shortlist.eval.protocol import Split, leave_last, published
from shortlist.types import Events, Rows, Scores

RATE = 2  # code of the kind "rate"


def folder(name: str) -> Path:
    """Where a data set lies."""
    path = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[1] / "../shared/data")) / name
    if not path.is_dir():
        raise NotFound("no such data set", where=str(path), hint="Name the folder of data sets in SHORTLIST_DATA.")
    return path


def movielens_1m() -> Dataset:
    """MovieLens-1M without items of fewer than five ratings: 6,040 people, 3,416 films, 999,611 ratings.

    Nine tenths of the times are lost: a rating gets the nearest known time before it, in the person's own order.
    """
    time = pl.coalesce("timestamp", "ts_lower", "ts_upper").cast(pl.Int64)
    table = (
        pl.read_parquet(folder("movielens-1m") / "ratings_DERIVED.parquet")
        .filter(pl.len().over("movie_id") >= 5)
        .sort("user_id", "time_rank_in_user")
        .with_columns(time=time.fill_null(strategy="backward").cum_max().over("user_id") * 1_000_000)
        .with_columns(time=pl.col("time") + pl.col("time_rank_in_user"))
    )
    return _dataset(*(table[name].to_numpy() for name in ("user_id", "movie_id", "rating", "time")))


def gowalla() -> tuple[Dataset, Dataset]:
    """Check-ins, the split of NGCF and LightGCN: train (810,128) and test (217,242), 29,858 people, 40,981 places."""
    path = folder("gowalla-lightgcn")
    table = pl.read_parquet(path / "train_DERIVED.parquet")
    lines = [line.split() for line in (path / "test.txt").read_text().splitlines()]
    user = np.repeat([int(line[0]) for line in lines], [len(line) - 1 for line in lines])
    item = np.array([int(word) for line in lines for word in line[1:]])
    size = int(max(table["user"].max(), user.max())) + 1, int(max(table["item"].max(), item.max())) + 1  # type: ignore[call-overload, arg-type]
    train = _events(table["user"].to_numpy(), table["item"].to_numpy(), np.ones(len(table)), np.zeros(len(table)))
    test = _events(user, item, np.ones(len(user)), np.full(len(user), DAY))
    return Dataset.of(train, *size), Dataset.of(test, *size)


def split(name: str) -> Split:
    """The protocol that results on a set are published with."""
    if name == "movielens-1m":
        return leave_last(movielens_1m())
    return published(*gowalla())


def _dataset(user: Rows, item: Rows, value: Scores, time: Rows) -> Dataset:
    users, user = np.unique(user, return_inverse=True)
    items, item = np.unique(item, return_inverse=True)
    return Dataset.of(_events(user, item, value, time), len(users), len(items))


def _events(user: Rows, item: Rows, value: Scores, time: Rows) -> Events:
    user, item = user.astype(np.int32), item.astype(np.int32)
    kind, value, time = np.full(len(user), RATE, np.uint8), value.astype(np.float32), time.astype(np.int64)
    ids = ops.event_ids(user, item, kind, value, time)
    return Events(user, item, kind, value, time, np.zeros(len(user), np.uint64), ids)
