"""Sequences in text: one person a line, "user item item ...", oldest first: the sets of S3-Rec (Zhou et al. 2020)."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from shortlist.data.events import IN_ORDER
from shortlist.data.frames import Frames
from shortlist.errors import DataError, NotFound


def lists(path: Path) -> pl.DataFrame:
    """user, item and position (from 0) of each entry."""
    if not path.is_file():
        raise NotFound("no such file", where=str(path), hint="check the path")
    lines = pl.Series("line", path.read_text("utf-8").splitlines(), pl.String)
    frame = lines.filter(lines.str.strip_chars() != "").to_frame().select(word=pl.col("line").str.split(" "))
    frame = frame.select(user=pl.col("word").list.first(), item=pl.col("word").list.slice(1))
    frame = frame.with_columns(pl.col("item").list.filter(pl.element() != "")).filter(pl.col("item").list.len() > 0)
    if frame["user"].is_duplicated().any():
        raise DataError("a user has two lines", where=str(path), hint='one line a user: "user item item ..."')
    position = pl.int_ranges(pl.col("item").list.len())
    return frame.with_columns(position=position).explode("item", "position")


def sequences(path: Path, attributes: Path | None = None) -> Frames:
    """Everyone's events, the n-th of each at the same time; with the attributes of items from a JSON file."""
    frame = lists(path)
    time = IN_ORDER + pl.col("position") * 1_000_000
    events = frame.select("user", "item", kind=pl.lit("click"), value=pl.lit(1.0), time=time)
    items = frame.select(pl.col("item").unique(maintain_order=True))
    if attributes is not None:
        known = json.loads(attributes.read_text("utf-8"))
        facts = pl.DataFrame(
            {"item": list(known), "attributes": [[str(each) for each in value] for value in known.values()]},
            schema={"item": pl.String, "attributes": pl.List(pl.String)},
        )
        items = items.join(facts, on="item", how="left", maintain_order="left")
    return Frames(path.stem, events, items, timed=False)
