"""The sets of the benchmarks and the protocols they are reported under; of several the first is the default."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.rows import ROOT
from shortlist.data import anime, gowalla, movielens, seq
from shortlist.data.frames import to_dataset
from shortlist.dataset import Dataset
from shortlist.errors import NotFound
from shortlist.eval.protocol import Split, global_time, hold_out, leave_last, published

SUPPORT = 5  # events that an item needs to stay


def folder(name: str) -> Path:
    """Where a data set lies."""
    path = Path(os.environ.get("SHORTLIST_DATA") or ROOT / "../shared/data") / name
    if not path.is_dir():
        raise NotFound("no such data set", where=str(path), hint="Name the folder of data sets in SHORTLIST_DATA.")
    return path


def movielens_1m() -> Dataset:
    """The file of SASRec and BERT4Rec: 6,040 people, 3,416 films, 999,611 ratings, all of them likings."""
    return _supported(to_dataset(movielens.movielens_1m(folder("movielens-1m")))[0])


def movielens_100k() -> Dataset:
    """943 people, 1,682 films, 100,000 ratings, all of them likings."""
    return to_dataset(movielens.movielens_100k(folder("movielens-100k")))[0]


def anime_ratings() -> Dataset:
    """People who rated anime; a rating is a liking, watched without rating only means seen. No times."""
    return _supported(to_dataset(anime.anime(folder("anime")))[0])


def gowalla_parts() -> tuple[Dataset, Dataset]:
    """Check-ins in the split of NGCF and LightGCN: train (810,128) and test (217,242)."""
    train, test = (to_dataset(part)[0] for part in gowalla.gowalla(folder("gowalla-lightgcn")))
    return train, test


def beauty() -> Dataset:
    """The 5-core file of S3-Rec: 22,363 people, 12,101 products, 198,502 reviews in order, all of them likings."""
    path = folder("seq-s3rec")
    return to_dataset(seq.sequences(path / "Beauty.txt", path / "Beauty_item2attributes.json"))[0]


SPLITS: Mapping[str, Mapping[str, Callable[[], Split]]] = {
    "movielens-1m": {
        "leave-last": lambda: leave_last(movielens_1m()),
        "global": lambda: global_time(movielens_1m()),
    },
    "movielens-100k": {
        "leave-last": lambda: leave_last(movielens_100k()),
        "global": lambda: global_time(movielens_100k()),
    },
    "anime": {"published": lambda: replace(hold_out(anime_ratings()), name="published")},
    "beauty": {"leave-last": lambda: leave_last(beauty())},
    "gowalla": {"published": lambda: published(*gowalla_parts(), valid=0.2)},  # like its test: a part of everybody
}
TIMED = {"movielens-1m", "movielens-100k", "beauty"}
"""The others say nothing about order: models that read it are left out there."""


def _supported(data: Dataset) -> Dataset:
    """Without the items of fewer than SUPPORT events; rows are numbered anew."""
    enough = np.bincount(data.events.item, minlength=data.n_items) >= SUPPORT
    row = np.cumsum(enough, dtype=np.int32) - 1
    kept = data.events.take(enough[data.events.item])
    items = {name: column[enough] for name, column in data.items.items()}
    events = replace(kept, item=row[kept.item])
    return Dataset.of(events, data.n_users, int(enough.sum()), users=data.users, items=items)
