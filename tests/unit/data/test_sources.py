"""Sources that are not tables in text: JSON lines, Parquet, SQLite."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest

from shortlist.data import sources, sql
from shortlist.data.guess import guess
from shortlist.data.rows import column, id_text
from shortlist.data.sources import expand
from shortlist.errors import DataError, NotFound, ShortlistError, StoreError

from .conftest import Shop

MOMENT = 1_714_564_800_000_000


def test_json_lines(shop: Shop) -> None:
    path = shop.write(
        '{"user_id": 1, "item_id": "01", "v": 4.5, "t": 1714564800}\n'
        "\n"
        '{"t": 1714564800, "item_id": 12345678901234567890, "user_id": "é", "v": -1, "extra": {"a": [1]}}\n'
        '{"user_id": 7.0, "item_id": "x", "v": 1, "t": 1714564800}\n'
        '{"user_id": true, "item_id": "x", "v": 1, "t": 1714564800}\n'
        '{"user_id": null, "item_id": "x", "v": 1, "t": 1714564800}\n'
        '{"user_id": "1", "item_id": "x", "v": NaN, "t": 1714564800}\n'
        '{"user_id": "1", "item_id": "x", "v": 1e999, "t": 1714564800}\n'
        '["1", "x"]\n'
        "{half\n",
        "events.jsonl",
    )
    summary = shop.load(path, value="v", time="t")
    assert shop.events() == [("1", "01", "rate", 4.5, MOMENT), ("é", "12345678901234567890", "rate", -1.0, MOMENT)]
    assert summary.rows == 9
    assert {reject["line"]: reject["reason"] for reject in shop.rejects()} == {
        4: "id-type",
        5: "id-type",
        6: "missing-user",
        7: "json",
        8: "json",
        9: "json",
        10: "json",
    }
    assert shop.rejects()[-1]["file"] == str(path)
    assert any("7.0 may have been 7" in reject["remedy"] for reject in shop.rejects())


def test_json_keys_may_come_late_or_never(shop: Shop) -> None:
    path = shop.write('{"id": "a"}\n{"id": "b", "title": "Bread", "tags": ["x", "y"]}\n', "items.jsonl")
    shop.load(path, entity="items", item="id")
    assert shop.facts("item", "a") == {"title": "", "tags": ()}
    assert shop.facts("item", "b") == {"title": "Bread", "tags": ("x", "y")}


def test_a_json_array_is_named(shop: Shop) -> None:
    with pytest.raises(DataError, match="one JSON array") as error:
        shop.load(shop.write('[{"user_id": 1}]', "events.json"))
    assert "jq" in error.value.hint


def test_parquet_keeps_ids_apart(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "ROWS", 2)
    path = shop.folder / "events.parquet"
    stamps = [datetime(2024, 5, 1, 12, tzinfo=UTC)] * 5
    frame = pl.DataFrame({"user_id": [1, 2, 3, 4, None], "item_id": ["01", "1", "a", "b", "c"], "t": stamps})
    frame.write_parquet(path)
    summary = shop.load(path, time="t")
    assert [event[:2] for event in shop.events()] == [("1", "01"), ("2", "1"), ("3", "a"), ("4", "b")]
    assert {event[4] for event in shop.events()} == {MOMENT}
    assert summary.rejected == {"missing-user": 1}
    assert shop.rejects()[0]["line"] == 5
    assert '"item_id": "c"' in shop.rejects()[0]["row"]


def test_fractional_ids_in_parquet_are_refused_as_a_whole(shop: Shop) -> None:
    path = shop.folder / "events.parquet"
    pl.DataFrame({"user_id": [1.0, 2.0], "item_id": ["a", "b"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"column 'user_id' is Float64: an id must be text or a whole number") as error:
        shop.load(path)
    assert "Int64" in error.value.hint


def test_parquet_facts(shop: Shop) -> None:
    path = shop.folder / "items.parquet"
    pl.DataFrame(
        {
            "item_id": ["a"],
            "price": [Decimal("4.50")],
            "day": [date(2024, 5, 1)],
            "tags": [["x"]],
            "sold": [True],
            "size": pl.Series(["L"], dtype=pl.Categorical),
            "deep": [{"a": 1}],
        }
    ).write_parquet(path)
    summary = shop.load(path, entity="items")
    assert shop.facts("item", "a") == {
        "price": 4.5,
        "day": MOMENT - 43_200_000_000,
        "tags": ("x",),
        "sold": True,
        "size": "L",
    }
    assert "column 'deep' is left out" in summary.warnings[0]


def test_a_file_that_is_no_parquet(shop: Shop) -> None:
    with pytest.raises(DataError, match="not readable as Parquet"):
        shop.load(shop.write("user_id,item_id\n1,a\n", "events.parquet"))
    with pytest.raises(NotFound, match="no such file"):
        shop.load(shop.folder / "none.parquet")


# SQLite


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE ratings (user_id, item_id, stars REAL, at TEXT)")
        rows = [
            (1, "01", 4.5, "2024-05-01 12:00:00"),
            ("1", 1, 3, "2024-05-01 12:00:00"),
            (7.0, "x", 1, "2024-05-01 12:00:00"),
            (None, "x", 1, "2024-05-01 12:00:00"),
            ("2", b"b", 1, "2024-05-01 12:00:00"),
            ("3", "x", None, "2024-05-01 12:00:00"),
        ]
        connection.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?)", rows)
        connection.execute('CREATE TABLE "odd name" (a)')
    connection.close()
    return path


def test_sqlite_table(shop: Shop, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROWS", 2)
    summary = shop.load(f"sqlite:///{database}#ratings", value="stars", time="at")
    assert [event[:4] for event in shop.events()] == [
        ("1", "01", "rate", 4.5),
        ("1", "1", "rate", 3.0),
        ("2", "b", "rate", 1.0),
    ]
    assert {reject["line"]: reject["reason"] for reject in shop.rejects()} == {
        3: "id-type",
        4: "missing-user",
        6: "missing-value",
    }
    assert summary.source == f"sqlite:///{database}#ratings"


def test_sqlite_query(shop: Shop, database: Path) -> None:
    query = "SELECT user_id AS u, item_id AS i FROM ratings WHERE stars > 3.5 -- # 50%"
    assert shop.load(f"sqlite:///{database}#{query}", user="u", item="i").accepted == 1


@pytest.mark.parametrize(
    ("url", "kind", "message", "hint"),
    [
        ("sqlite:///{}", DataError, "the URL names no table", "tables: odd name, ratings"),
        ("sqlite:///{}#nope", NotFound, "no table 'nope'", "tables: odd name, ratings"),
        ("sqlite:///{}#SELECT nope FROM ratings", StoreError, "no such column: nope", "SELECT"),
        ("sqlite:///{}#SELECT 1 AS a, 2 AS a", DataError, "two columns have the same name", "AS"),
        ("sqlite:///{}x#ratings", NotFound, "no such database file", "sqlite:///relative.db"),
        ("oracle://me:secret@host/db#t", DataError, "no reader for oracle://", "postgresql://"),
        ("mysql://me:my#secret@host/db#t", DataError, "the port is not a number from 0 to 65535", "# @ : as %2F"),
        ("postgresql://me:secret/2@host/db#t", DataError, "the port is not a number", "%23 %40"),
        ("postgresql://me:secret@host:99999/db#t", DataError, "the port is not a number", "%23 %40"),
    ],
)
def test_what_cannot_be_read_is_named(
    shop: Shop, database: Path, url: str, kind: type[ShortlistError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as error:
        shop.load(url.format(database))
    assert message in error.value.message
    assert hint in error.value.hint
    assert "secret" not in f"{error.value} {error.value.hint}"


def test_a_database_cannot_be_changed_by_a_query(shop: Shop, database: Path) -> None:
    with pytest.raises(ShortlistError):
        shop.load(f"sqlite:///{database}#DELETE FROM ratings")
    with pytest.raises(StoreError, match="readonly"):
        shop.load(f"sqlite:///{database}#WITH x AS (SELECT 1) DELETE FROM ratings")


def test_passwords_are_masked() -> None:
    assert sql.masked("mysql://me:s3cret@host:3306/shop#ratings") == "mysql://me@host:3306/shop#ratings"
    assert sql.masked("postgresql://host/shop#SELECT secret FROM t") == "postgresql://host/shop"
    for password in ("s3/cret", "s3?cret", "s3#cret"):  # they end the host of a URL
        assert sql.masked(f"mysql://me:{password}@host/shop#ratings") == "mysql://..."
    error = sql.unreachable("mysql://me:s3cret@host/shop", OSError("no route for me:s3cret\nmore"))
    assert str(error) == "mysql://me@host/shop: cannot read the database: no route for me:***"


def test_sources_of_the_configuration(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).touch()
    assert expand("*.csv", tmp_path) == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert expand("sqlite:///shop.db#t", tmp_path) == [f"sqlite:///{tmp_path}/shop.db#t"]
    assert expand("sqlite:////abs/shop.db#t", tmp_path) == ["sqlite:////abs/shop.db#t"]
    assert expand("mysql://host/db#t", tmp_path) == ["mysql://host/db#t"]
    with pytest.raises(NotFound, match="no such file"):
        expand("*.tsv", tmp_path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("01", "01"),
        (7, "7"),
        (2**70, str(2**70)),
        (7.0, None),
        (True, None),
        (None, None),
        (Decimal("7"), "7"),
        (Decimal("7.0"), None),
        (b"\xc3\xa9", "é"),
        (b"\xff", None),
        ([1], None),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_ids_of_typed_sources(value: object, expected: str | None) -> None:
    assert id_text(value) == expected


def test_columns_of_mixed_values_change_nothing() -> None:
    assert column("x", [1, None]).dtype == pl.Int64
    assert column("x", [2**70, 1]).to_list() == [str(2**70), "1"]
    assert column("x", [1, 2.5]).to_list() == [1.0, 2.5]
    assert column("x", [True, "a"]).to_list() == ["true", "a"]
    assert column("x", [None, None]).to_list() == [None, None]
    assert column("x", [date(2024, 5, 1), datetime(2024, 5, 1, 14, tzinfo=UTC)]).cast(pl.Int64).to_list() == [
        MOMENT - 43_200_000_000,
        MOMENT + 7_200_000_000,
    ]


def test_damage_that_ends_the_decoder_ends_no_load(shop: Shop) -> None:
    damaged = Path(__file__).parents[2] / "faults" / "corpus" / "parquet" / "absurd-run"
    path = shop.write(damaged.read_bytes(), "events.parquet")
    for _ in range(2):  # the process that tries is there again
        with pytest.raises(DataError, match="not readable as Parquet"):
            shop.load(path)
    pl.DataFrame({"user_id": ["u"], "item_id": ["a"]}).write_parquet(path)
    shop.load(path)
    assert [event[:2] for event in shop.events()] == [("u", "a")]


def test_lists_are_no_ids(shop: Shop) -> None:
    path = shop.write('{"tags": ["a"], "x": 1}\n{"tags": ["b"], "x": 2}\n', "users.jsonl")
    assert guess([str(path)], None)[0].mapping.user == "x"
    path.write_text('{"tags": ["a"]}\n', "utf-8")
    with pytest.raises(DataError, match="none can be an id"):
        guess([str(path)], None)
