"""The blueprint for movies: from a SQL database to predictions for named titles."""

import asyncio
import json
import sqlite3
import tomllib
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from shortlist.cli import app
from shortlist.testing.world import synthetic
from tests.unit.data.test_servers import mysql, postgresql  # noqa: F401 fixtures: private servers

TABLES = """
CREATE TABLE users (user_id INTEGER PRIMARY KEY, age INTEGER, gender TEXT, occupation TEXT, zipcode TEXT);
CREATE TABLE movies (movie_id INTEGER PRIMARY KEY, title TEXT, release_date TEXT, genre TEXT);
CREATE TABLE ratings (
  rating_id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (user_id),
  movie_id INTEGER REFERENCES movies (movie_id),
  rating REAL, timestamp INTEGER
);
"""
TORCH = find_spec("torch") is not None  # without it networks stay as they begin
FIRST_USER, FIRST_MOVIE = 1001, 501  # ids are no positions
WAYS = ("home", "user_based", "item_based", "context", "factors", "towers", "deep", "multitask")


class Tables(NamedTuple):
    """What the three tables hold."""

    users: list[tuple[Any, ...]]
    movies: list[tuple[Any, ...]]
    ratings: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def tables() -> Tables:
    data = synthetic().data
    events = data.events.take(data.events.kind == 2)
    chance = np.random.default_rng(0)
    people = [
        (FIRST_USER + row, int(chance.integers(15, 70)), "FM"[row % 2], ("writer", "nurse")[row // 30], f"{row:05}")
        for row in range(data.n_users)
    ]
    films = [
        (FIRST_MOVIE + row, f"Film No. {row}", f"19{50 + row % 50}-01-01", "|".join(data.items["genres"][row]))
        for row in range(data.n_items)
    ]
    rows = zip(events.user.tolist(), events.item.tolist(), events.value.tolist(), events.time.tolist(), strict=True)
    rated = [
        (at, FIRST_USER + user, FIRST_MOVIE + item, value, time // 1_000_000)
        for at, (user, item, value, time) in enumerate(rows)
    ]
    return Tables(people, films, rated)


def quicker(file: Path) -> None:
    """Fewer turns than the blueprint asks for."""
    bayesian = '"models.bayesian_fm:BayesianFm"'
    text = file.read_text().replace(bayesian, f"{bayesian}, factors = 6, sweeps = 40, warmup = 10, samples = 5")
    for epochs in ("epochs = 20", "epochs = 12"):
        text = text.replace(epochs, f"epochs = {3 if TORCH else 0}, threads = 1")
    file.write_text(text)


def sqlite(folder: Path, tables: Tables) -> Path:
    """A folder with movies.db and nothing else."""
    with sqlite3.connect(folder / "movies.db") as connection:
        connection.executescript(TABLES)
        for name, rows in tables._asdict().items():
            places = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {name} VALUES ({places})", rows)
    connection.close()
    return folder


@pytest.fixture(scope="module")
def home(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sqlite(tmp_path_factory.mktemp("movies"), tables)


def test_from_a_database_to_predictions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(home / "shortlist.toml")

    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            app.main([*words, *([] if words[0] == "init" else ["--config", config])])
        said = capsys.readouterr()
        assert left.value.code == code, said.err
        return said.out if code == 0 else said.err

    run("init", "--blueprint", "movies", "--out", config)
    quicker(Path(config))
    loaded = json.loads(run("ingest", "--json"))
    assert [each["rejected"] for each in loaded["sources"]] == [{}, {}, {}]
    errors = run("evaluate")
    for name in ("biases", "stars", "svdpp", "deep", "multitask"):
        assert name in errors
    run("train", "--publish")
    told = json.loads(run("predict", str(FIRST_USER + 3), "film no. 7", "Film No. 8", str(FIRST_MOVIE + 20), "--json"))
    items = told["items"]
    assert {each["id"] for each in items} == {str(FIRST_MOVIE + row) for row in (7, 8, 20)}
    scores = [each["score"] for each in items]
    assert scores == sorted(scores, reverse=True)
    assert all(1 <= score <= 5 for score in scores)
    assert len(set(scores)) == 3
    table = run("predict", str(FIRST_USER + 3), "Film No. 7")
    assert "Film No. 7" in table
    failed = run("predict", str(FIRST_USER + 3), "Fillm No. 8", code=4)
    assert "nothing is called 'Fillm No. 8'" in failed
    assert "'Film No. 8'" in failed
    stranger = json.loads(run("predict", "nobody", "Film No. 7", "Film No. 8", "--json"))
    assert len(stranger["items"]) == 2
    lists = {name: run("recommend", str(FIRST_USER + 3), "--pipeline", name) for name in (*WAYS, "best_rated")}
    assert all("Film No." in each for each in lists.values())
    table = f"sqlite:///{home / 'movies.db'}#recommendations"
    for count in (5, 3):
        told = json.loads(run("lists", table, "-n", str(count), "--json"))
        assert told["people"] == 60
        with sqlite3.connect(home / "movies.db") as connection:
            written = connection.execute("SELECT * FROM recommendations ORDER BY user_id, place").fetchall()
        connection.close()
        assert len(written) == told["places"] == 60 * count
        mine = [(place, item) for user, place, item, _ in written if user == str(FIRST_USER + 3)]
        assert [place for place, _ in mine] == list(range(1, count + 1))
        assert not {int(item) for _, item in mine} & rated(home, FIRST_USER + 3)
    assert "holds something else" in run("lists", table.replace("recommendations", "ratings"), code=3)
    assert "there is no pipeline 'nothing'" in run("lists", table, "--pipeline", "nothing", code=2)


def rated(home: Path, user: int) -> set[int]:
    with sqlite3.connect(home / "movies.db") as connection:
        found = connection.execute("SELECT movie_id FROM ratings WHERE user_id = ?", (user,)).fetchall()
    connection.close()
    return {item for (item,) in found}


Answer = dict[str, Any]


def one_command(url: str, folder: Path, said: pytest.CaptureFixture[str], *more: str) -> Answer:
    """shortlist predict --from URL, with fewer turns: the blueprint is there already, for this database."""
    text = (files("shortlist") / "blueprints" / "movies.toml").read_text("utf-8")
    (folder / "shortlist.toml").write_text(text.replace('"sqlite:///movies.db#', f'"{url}#'))
    quicker(folder / "shortlist.toml")
    return predicted(url, folder, said, *more)


def predicted(url: str, folder: Path, said: pytest.CaptureFixture[str], *more: str) -> Answer:
    words = ["predict", str(FIRST_USER + 3), "Film No. 7", "Film No. 8", "--from", url, "--into", "recommendations"]
    with pytest.raises(SystemExit) as left:
        app.main([*words, "--config", str(folder), "--json", *more])
    told = said.readouterr()
    assert left.value.code == 0, told.err
    found: Answer = json.loads(told.out)
    return found


def check(told: Answer, written: Sequence[tuple[Any, ...]], tables: Tables) -> None:
    """Everything is there: rows, figures, predictions, everybody's list."""
    counts = {each["entity"]: (each["accepted"], each["rejected"]) for each in told["sources"]}
    assert counts == {
        "users": (len(tables.users), {}),
        "items": (len(tables.movies), {}),
        "events": (len(tables.ratings), {}),
    }
    assert {each["id"] for each in told["items"]} == {str(FIRST_MOVIE + 7), str(FIRST_MOVIE + 8)}
    assert all(1 <= each["score"] <= 5 for each in told["items"])
    judged = {(each["system"], each["metric"]) for each in told["evaluation"]["rows"]}
    assert {(way, f"hit@{k}") for way in WAYS for k in (1, 5, 10, 50, 100)} <= judged
    errors = told["ratings"]
    assert {"biases", "stars", "svdpp", "deep", "multitask"} == set(errors)
    assert errors["stars"]["rmse"]["value"] < 1.5
    assert not told["gate"]["failed"]
    assert len(written) == told["lists"]["places"]
    assert {int(user) for user, *_ in written} == {user for user, *_ in tables.users}
    seen = {(str(user), str(item)) for _, user, item, *_ in tables.ratings}
    assert not {(str(user), str(item)) for user, _, item, _ in written} & seen


def test_one_command(tables: Tables, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = sqlite(tmp_path, tables)
    url = f"sqlite:///{home / 'movies.db'}"
    told = one_command(url, tmp_path, capsys)
    with sqlite3.connect(home / "movies.db") as connection:
        written = connection.execute("SELECT * FROM recommendations").fetchall()
    connection.close()
    check(told, written, tables)


def test_one_command_begins_where_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes the blueprint for the database, and never over another one."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("films.db") as connection:
        connection.executescript(TABLES)
    connection.close()

    def run(*words: str, code: int) -> str:
        with pytest.raises(SystemExit) as left:
            app.main(["predict", "1", "Film", *words, "--config", "there"])
        said = capsys.readouterr()
        assert left.value.code == code, said.err
        return said.err

    run("--from", "sqlite:///films.db", code=3)  # there is nothing in its tables
    file = tmp_path / "there" / "shortlist.toml"
    assert f'source = "sqlite:///{tmp_path / "films.db"}#ratings"' in file.read_text()
    assert ("[pipelines.deep]" in file.read_text()) == ('"deep"' in file.read_text()) == TORCH
    assert file.stat().st_mode & 0o077 == 0  # the URL of a server holds a password
    assert "reads something else" in run("--from", "sqlite:///other.db", code=8)
    assert "--into names a table" in run("--into", "lists", code=2)
    assert "is not the name of a table" in run("--from", "sqlite:///films.db", "--into", "my-list", code=2)


def test_a_url_is_written_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = 'mysql://reader:se\\xr"et@127.0.0.1:9/films'
    with pytest.raises(SystemExit) as left:
        app.main(["predict", "1", "Film", "--from", url])
    assert left.value.code not in (0, 2, 3)
    table = tomllib.loads((tmp_path / "shortlist.toml").read_text())
    assert {each["source"].partition("#")[0] for each in table["ingest"].values()} == {url}


def test_one_command_from_mariadb(
    mysql: str,  # noqa: F811
    tables: Tables,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import asyncmy
    from asyncmy.cursors import Cursor

    async def tell(work: Callable[[Cursor], Any]) -> Any:
        parts = urlsplit(mysql)
        facts = {"host": parts.hostname, "port": parts.port, "user": parts.username}
        connection = await asyncmy.connect(**facts, password=unquote(parts.password or ""), db="shop", autocommit=True)
        async with connection.cursor() as cursor:
            found = await work(cursor)
        connection.close()
        return found

    async def fill(cursor: Cursor) -> None:
        await cursor.execute("DROP TABLE IF EXISTS ratings")
        for statement in TABLES.split(";")[:-1]:
            await cursor.execute(statement.replace("TEXT", "VARCHAR(100)"))
        for name, rows in tables._asdict().items():
            await cursor.executemany(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(rows[0]))})", rows)

    async def lists(cursor: Cursor) -> Any:
        await cursor.execute("SELECT * FROM recommendations")
        return await cursor.fetchall()

    asyncio.run(tell(fill))
    check(one_command(mysql, tmp_path, capsys), asyncio.run(tell(lists)), tables)


def test_one_command_from_postgresql(
    postgresql: str,  # noqa: F811
    tables: Tables,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import psycopg

    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS ratings")
        connection.execute(TABLES)
        for name, rows in tables._asdict().items():
            connection.cursor().executemany(f"INSERT INTO {name} VALUES ({', '.join(['%s'] * len(rows[0]))})", rows)
    told = one_command(postgresql, tmp_path, capsys)
    with psycopg.connect(postgresql) as connection:
        written = connection.execute("SELECT * FROM recommendations").fetchall()
    check(told, written, tables)
