"""Gowalla check-ins in the split of NGCF and LightGCN (Wang et al. 2019; He et al. 2020). No times, no facts."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from shortlist.data.events import IN_ORDER
from shortlist.data.frames import Frames
from shortlist.data.seq import lists


def gowalla(folder: Path) -> tuple[Frames, Frames]:
    """The published training part (810,128 pairs) and test part (217,242) of 29,858 people and 40,981 places."""
    if (folder / "train.txt").exists():
        train = lists(folder / "train.txt")
    else:
        train = pl.read_parquet(folder / "train_DERIVED.parquet").cast(pl.String)
    places = pl.DataFrame({"item": map(str, range(40_981))})
    people = pl.DataFrame({"user": map(str, range(29_858))})
    return tuple(
        Frames(f"gowalla-{part}", _clicks(pairs), places, people, timed=False)
        for part, pairs in (("train", train), ("test", lists(folder / "test.txt")))
    )  # type: ignore[return-value]


def _clicks(pairs: pl.DataFrame) -> pl.DataFrame:
    time = IN_ORDER + pl.int_range(pl.len(), dtype=pl.Int64) * 1_000_000
    return pairs.select("user", "item", kind=pl.lit("click"), value=pl.lit(1.0), time=time)
