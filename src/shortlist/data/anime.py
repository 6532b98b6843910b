"""The anime recommendations database: catalogue, ratings from 1 to 10, and -1 for watched but not rated. No times."""

from __future__ import annotations

import html
import tempfile
import zipfile
from pathlib import Path

import polars as pl

from shortlist.data.events import IN_ORDER
from shortlist.data.frames import Frames, table

SHARED = range(4936, 5001)  # people of anime.zip who are in rating_part23_of_23.csv under their own ids
RATING = ("user", "item", "value")


def anime(folder: Path) -> Frames:
    """anime.csv with every rating file beside it: rating*.csv of the original, and the 5,000 people of anime.zip.

    People of the zip, who were renumbered there, get ids with a "c" before the number.
    """
    parts = [_original(path) for path in sorted(folder.glob("rating*.csv"))]
    if (folder / "anime.zip").exists():
        parts.append(_renumbered(folder, overlap=bool(parts)))
    events = pl.concat(parts).with_columns(
        pl.when(pl.col("value") == -1).then(pl.lit("view")).otherwise(pl.lit("rate")).alias("kind"),
        pl.when(pl.col("value") == -1).then(1.0).otherwise(pl.col("value")).alias("value"),
        (IN_ORDER + pl.int_range(pl.len(), dtype=pl.Int64) * 1_000_000).alias("time"),
    )
    return Frames("anime", events.select("user", "item", "kind", "value", "time"), _catalogue(folder), timed=False)


def _catalogue(folder: Path) -> pl.DataFrame:
    items = table(folder / "anime.csv")
    return items.select(
        pl.col("anime_id").alias("item"),
        pl.col("name").map_elements(html.unescape, pl.String).alias("title"),
        pl.col("genre")
        .str.split(",")
        .list.eval(pl.element().str.strip_chars())
        .list.filter(pl.element() != "")
        .alias("genres"),
        pl.col("type"),
        pl.col("episodes", "rating", "members").cast(pl.Float64, strict=False),
    )


def _original(path: Path) -> pl.DataFrame:
    frame = table(path, header="auto")
    frame.columns = list(RATING)
    return frame.with_columns(pl.col("value").cast(pl.Float64))


def _renumbered(folder: Path, overlap: bool) -> pl.DataFrame:
    """Ratings of anime.zip, and -1 for what was watched but not rated, under the ids of the catalogue."""
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(folder / "anime.zip") as archive:
        watched, rated = (
            table(Path(archive.extract(f"anime/anime_{name}.dat", scratch)), separator="\t", header="yes")
            for name in ("history", "ratings")
        )
    watched.columns = rated.columns = list(RATING)
    unrated = watched.join(rated, on=["user", "item"], how="anti", maintain_order="left").with_columns(
        value=pl.lit("-1")
    )
    ids = table(folder / "id_map_DERIVED.csv").select(pl.col("caserec_id").alias("item"), "mal_anime_id")
    both = pl.concat([rated, unrated]).join(ids, on="item", how="inner", maintain_order="left")
    if overlap:
        both = both.filter(~pl.col("user").is_in([str(user) for user in SHARED]))
    return both.select(
        ("c" + pl.col("user")).alias("user"),
        pl.col("mal_anime_id").alias("item"),
        pl.col("value").cast(pl.Float64),
    )
