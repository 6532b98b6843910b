"""`shortlist init`: what files are taken for, and that what is written down loads."""

from __future__ import annotations

import sqlite3
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from shortlist import config
from shortlist.data.guess import Guess, guess
from shortlist.data.mapping import Rule
from shortlist.data.render import render_toml
from shortlist.errors import DataError

from .conftest import Shop

SPRING = 1_714_564_800


def one(shop: Shop, content: str | bytes, name: str = "file.csv") -> Guess:
    return guess([shop.write(content, name)])[0]


def roles(found: Guess) -> dict[str, str]:
    return {column.role: column.name for column in found.columns if column.role not in ("", "fact")}


def test_a_common_log(shop: Shop) -> None:
    found = one(shop, f"ts,visitorId,event,itemid,junk\n{SPRING}000,1,view,7,x\n{SPRING}001,2,addtocart,7,y\n")
    m = found.mapping
    assert roles(found) == {"user": "visitorId", "item": "itemid", "time": "ts", "kind": "event"}
    assert (m.entity, m.separator, m.header, m.time_unit) == ("events", ",", "yes", "ms")
    assert m.kinds == {"addtocart": "cart"}
    samples = {column.name: column.samples for column in found.columns}
    assert samples["itemid"] == ("7", "7")
    assert all(column.confidence >= 0.9 for column in found.columns if column.role)
    assert (found.rows, found.whole, found.warnings) == (2, True, ())


def test_ratings_without_a_header(shop: Shop) -> None:
    lines = [f"{n % 5}\t{n % 9}\t{n % 7 - 1}\t{SPRING + n}" for n in range(60)]
    found = one(shop, "\n".join(lines), "mine.tsv")
    m = found.mapping
    assert m.names == ("user_id", "item_id", "rating", "timestamp")
    assert (m.user, m.item, m.value, m.time, m.time_unit) == ("user_id", "item_id", "rating", "timestamp", "s")
    assert m.rules == (Rule(-1.0, "view"),)
    assert "column 1 is taken for the user by its place: check it" in found.warnings
    assert "taken as seen, not rated" in " ".join(found.warnings)
    assert {column.role: column.confidence for column in found.columns}["user"] == 0.5


def test_dates_that_could_be_read_two_ways_are_doubted(shop: Shop) -> None:
    found = one(shop, "user_id,item_id,date\n1,a,05/04/2024\n2,b,06/07/2024\n")
    assert found.mapping.time_unit == "%d/%m/%Y"
    assert "day and month of the times could be swapped: check time_unit" in found.warnings
    sure = one(shop, "user_id,item_id,date\n1,a,25/04/2024\n2,b,06/07/2024\n")
    assert sure.warnings == ()
    odd = one(shop, "user_id,item_id,date\n1,a,someday\n2,b,never\n")
    assert odd.mapping.time == ""
    assert "column 'date' looks like a time of unknown unit: set time and time_unit" in odd.warnings


def test_facts_of_items(shop: Shop) -> None:
    found = one(
        shop,
        "product_id;name;category;price;weight\n"
        + "".join(f"{n:03};Thing {n};a, b;{n}.5;{'Unknown' if n == 3 else n}\n" for n in range(20)),
        "things.csv",
    )
    m = found.mapping
    assert (m.entity, m.item, m.separator) == ("items", "product_id", ";")
    assert m.columns == {"title": "text", "category": "list", "price": "number", "weight": "number"}
    assert (m.rename, m.list_separator, m.missing) == ({"name": "title"}, ",", ("", "Unknown"))
    (warning,) = found.warnings
    assert warning.startswith("item ids begin with 0 and are kept as text, such as '0")


def test_facts_of_users_by_the_look(shop: Shop) -> None:
    found = one(shop, "".join(f"{n}|{20 + n}|{'MF'[n % 2]}\n" for n in range(9)), "x.dat")
    assert found.mapping.entity == "users"
    assert "taken for users by the look of the columns: check `entity`" in found.warnings


def test_events_of_items_that_no_file_has(shop: Shop) -> None:
    events = shop.write("user_id,item_id\n1,a\n1,b\n2,a\n2,ghost\n", "events.csv")
    items = shop.write("item_id,title\na,Ales\nb,Bread\n", "items.csv")
    found = {each.mapping.entity: each for each in guess([events, items])}
    assert "25 % of the events refer to items that are in none of the files" in found["events"].warnings
    assert found["items"].warnings == ()


def test_a_table_of_a_database(shop: Shop) -> None:
    path = shop.folder / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ratings (user_id INTEGER, movie_id INTEGER, rating REAL, created_at TEXT)")
        connection.execute("INSERT INTO ratings VALUES (1, 2, 3.5, '2024-05-01 12:00:00')")
    connection.close()
    (found,) = guess([f"sqlite:///{path}#ratings"])
    assert roles(found) == {"user": "user_id", "item": "movie_id", "value": "rating", "time": "created_at"}
    assert found.mapping.time_unit == "iso"


@pytest.mark.parametrize(("content", "message"), [("x\n1\n1\n", "none is left"), ("user_id,item_id\n", "no rows")])
def test_what_cannot_be_guessed_says_so(shop: Shop, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        one(shop, content, "events.csv")
    assert error.value.hint


REAL = {
    "movielens-100k/u.data": 100_000,
    "movielens-100k/u.item": 1_682,
    "movielens-100k/u.user": 943,
    "movielens-1m/movies.dat": 3_883,
    "movielens-1m/users.dat": 6_040,
    "movielens-latest-small/ratings.csv": 100_836,
    "movielens-latest-small/movies.csv": 9_742,
    "anime/anime.csv": 12_294,
    "anime/rating_part23_of_23.csv": 97_470,
    "taobao-ehcf/cart.csv": 193_747,
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_load_as_guessed(shop: Shop, real_data: Path, name: str) -> None:
    """The guess, written as TOML and read back, loads every row."""
    found = guess([real_data / name])
    (written,) = config.parse(tomllib.loads(render_toml(found, real_data))).ingest.values()
    assert written == replace(found[0].mapping, source=name)
    assert shop.load(real_data / name, written).accepted == REAL[name]


def test_real_facts_are_those_that_pipelines_look_for(shop: Shop, real_data: Path) -> None:
    for name in ("movielens-100k/u.item", "anime/anime.csv"):
        shop.load(real_data / name, guess([real_data / name])[0].mapping)
    film = shop.facts("item", "1")
    assert film["genres"] == ("Action", "Adventure", "Comedy", "Drama", "Sci-Fi", "Space")  # the anime of that id
    assert shop.facts("item", "3")["genres"] == ("Thriller",)
    assert shop.facts("item", "3")["released"] == 788_918_400_000_000
    assert shop.facts("item", "9969")["title"] == "Gintama&#039;"


def test_anything_can_be_written_as_toml(shop: Shop) -> None:
    content = 'user "x",item\\y,ra=ting,é\n1,a,1,#\n2,b,2,"\n'
    found = one(shop, content, 'it\'s "odd" [1].csv')
    text = render_toml([found, found], shop.folder)
    parsed = config.parse(tomllib.loads(text)).ingest
    assert list(parsed) == ["it_s__odd___1", "it_s__odd___1_2"]
    assert all(replace(each, source="") == replace(found.mapping, source="") for each in parsed.values())
    assert next(iter(parsed.values())).source == 'it\'s "odd" [1].csv'


@pytest.mark.parametrize(
    ("values", "least"),
    [
        (["1", "5", "3"], 3.0),
        (["0.5", "5", "4.5"], 3.0),
        (["-1", "10", "7", "-1"], 6.0),
        (["1", "4"], None),  # nobody gave five: the scale is not known
        (["0.1", "5"], None),
        (["1", "100"], None),
    ],
)
def test_few_stars_are_no_liking(shop: Shop, values: list[str], least: float | None) -> None:
    rows = "".join(f"u{n},i{n},{value},{SPRING + n}\n" for n, value in enumerate(values))
    found = one(shop, f"user_id,item_id,rating,time\n{rows}")
    assert found.least == least
    kinds = config.parse(tomllib.loads(render_toml([found]))).kinds.table
    assert kinds["rate"].least == (-float("inf") if least is None else least)
    assert any("look like stars" in warning for warning in found.warnings) == (least is not None)


@pytest.mark.parametrize(("column", "split"), [("", "hold-out"), (",ts", "leave-last")])
def test_where_nothing_has_a_time_what_is_hidden_is_drawn_by_lot(shop: Shop, column: str, split: str) -> None:
    rows = [f"u{n % 7},i{n % 11},{n % 5 + 1}{column and f',{SPRING + n}'}" for n in range(60)]
    found = one(shop, "\n".join([f"user_id,item_id,rating{column}", *rows]))
    settings = config.parse(tomllib.loads(render_toml([found])))
    assert (settings.evaluate.split, settings.train.validation) == (split, split)
