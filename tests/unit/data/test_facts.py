"""Facts of items and users: typed, guessed only when every value agrees, refused cell by cell."""

from __future__ import annotations

import math

import polars as pl
import pytest

from shortlist.data.facts import guess_type
from shortlist.data.mapping import Mapping
from shortlist.errors import DataError

from .conftest import Shop


def test_types_are_guessed(shop: Shop) -> None:
    path = shop.write(
        "item_id,title,price,released,stock,genres,zip\n"
        "a,Ales,4.5,2024-05-01,true,Drink|Beer,01002\n"
        "b,Bread,,2023-01-01,false,Food,55117\n"
    )
    summary = shop.load(path, entity="items")
    assert (summary.accepted, summary.created, summary.warnings) == (2, {"item": 2}, ())
    assert shop.facts("item", "a") == {
        "title": "Ales",
        "price": 4.5,
        "released": 1_714_521_600_000_000,
        "stock": True,
        "genres": ("Drink", "Beer"),
        "zip": "01002",
    }
    assert math.isnan(shop.facts("item", "b")["price"])


def test_declared_facts_rename_flags_and_lists(shop: Shop) -> None:
    path = shop.write("id;name;tags;war;peace;code\n1;Gün & Co;x, y ,,z;1;0;7\n2;;;0;1;8\n", "items.csv")
    shop.load(
        path,
        entity="items",
        item="id",
        columns={"title": "text", "tags": "list", "code": "text"},
        rename={"name": "title"},
        list_separator=",",
        flags={"themes": ("war", "peace")},
    )
    assert shop.facts("item", "1") == {
        "title": "Gün & Co",
        "tags": ("x", "y", "z"),
        "code": "7",
        "themes": ("war",),
    }
    assert shop.facts("item", "2") == {"title": "", "tags": (), "code": "8", "themes": ("peace",)}


def test_cells_of_the_wrong_type_refuse_their_row(shop: Shop) -> None:
    path = shop.write(
        "user_id,age,seen,paid\n1,30,2024-05-01,yes\n2,old,2024-05-01,no\n3,inf,x,?\n4,,,\n,5,,\n5,1,y,no\n"
    )
    columns = {"age": "number", "seen": "time", "paid": "flag"}
    summary = shop.load(path, entity="users", columns=columns, time_unit="iso")
    assert summary.accepted == 2
    assert summary.rejected == {"number": 2, "missing-user": 1, "date": 1}
    first = shop.rejects()[0]
    assert (first["line"], first["row"]) == (3, "2,old,2024-05-01,no")
    assert first["message"] == "'old' in column 'age' is no finite number"
    assert "declare the column as text" in first["remedy"]
    assert shop.ids("user") == ["1", "4"]
    assert shop.facts("user", "4")["seen"] == -1


def test_the_last_row_of_an_id_holds(shop: Shop) -> None:
    summary = shop.load(shop.write("item_id,title\na,old\nb,x\na,new\n"), entity="items")
    assert (summary.accepted, summary.duplicate) == (2, 1)
    assert shop.facts("item", "a")["title"] == "new"
    assert summary.warnings == ("1 item ids occur more than once: the facts of the last row hold",)


def test_loading_again_changes_nothing(shop: Shop) -> None:
    path = shop.write("item_id,title\na,Ales\n")
    assert shop.load(path, entity="items").created == {"item": 1}
    assert shop.load(path, entity="items").created == {"item": 0}
    assert shop.ids("item") == ["a"]


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "'; DROP TABLE items; --", "=1+1", "a" * 100_000])
def test_facts_are_data(shop: Shop, hostile: str) -> None:
    shop.load(shop.write(f'item_id,title\na,"{hostile}"\n'), entity="items", separator=",")
    assert shop.facts("item", "a")["title"] == hostile


def test_a_fact_without_a_column_is_named(shop: Shop) -> None:
    path = shop.write("item_id,title\na,Ales\n")
    with pytest.raises(DataError, match=r"there is no column 'titel'; did you mean 'title'\?"):
        shop.load(path, entity="items", columns={"titel": "text"})


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x", ["1", "2.5", "", "-3e2"], "number"),
        ("x", ["01", "2"], "text"),
        ("x", ["1", "nan"], "text"),
        ("x", ["0", "1"], "number"),
        ("x", ["true", "False"], "flag"),
        ("x", ["2024-05-01", "1999-12-31T10:00:00Z"], "time"),
        ("x", ["", ""], "text"),
        ("genre", ["Drama|War", "War"], "list"),
        ("x", ["a|b", "c|d"], "list"),
        ("title", ["Face|Off", "x", "y", "z"], "text"),
    ],
)
def test_a_type_fits_every_value(name: str, values: list[str], expected: str) -> None:
    assert guess_type(name, pl.Series(name, values), Mapping(entity="items")) == expected


def test_a_time_that_nobody_has_is_no_value(shop: Shop) -> None:
    shop.load(shop.write("item_id,released\na,\nb,\n", "items.csv"), entity="items", columns={"released": "time"})
    rows = shop.stores.catalog.rows("item", ["a", "b"])
    assert shop.stores.catalog.read("item", rows, ["released"])["released"].tolist() == [-1, -1]
