"""The blueprint for movies: from a SQL database to predictions for named titles."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from shortlist.cli import app
from shortlist.testing.world import synthetic

TABLES = """
CREATE TABLE users (user_id INTEGER PRIMARY KEY, age INTEGER, gender TEXT, occupation TEXT, zipcode TEXT);
CREATE TABLE movies (movie_id INTEGER PRIMARY KEY, title TEXT, release_date TEXT, genre TEXT);
CREATE TABLE ratings (
  rating_id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users, movie_id INTEGER REFERENCES movies,
  rating REAL, timestamp INTEGER
);
"""
FIRST_USER, FIRST_MOVIE = 1001, 501  # ids are no positions


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with movies.db and nothing else."""
    folder, data = tmp_path_factory.mktemp("movies"), synthetic().data
    events = data.events.take(data.events.kind == 2)
    chance = np.random.default_rng(0)
    with sqlite3.connect(folder / "movies.db") as connection:
        connection.executescript(TABLES)
        people = [
            (FIRST_USER + row, int(chance.integers(15, 70)), "FM"[row % 2], ("writer", "nurse")[row // 30], f"{row:05}")
            for row in range(data.n_users)
        ]
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)", people)
        films = [
            (FIRST_MOVIE + row, f"Film No. {row}", f"19{50 + row % 50}-01-01", "|".join(data.items["genres"][row]))
            for row in range(data.n_items)
        ]
        connection.executemany("INSERT INTO movies VALUES (?, ?, ?, ?)", films)
        rows = zip(events.user.tolist(), events.item.tolist(), events.value.tolist(), events.time.tolist(), strict=True)
        rated = [
            (at, FIRST_USER + user, FIRST_MOVIE + item, value, time // 1_000_000)
            for at, (user, item, value, time) in enumerate(rows)
        ]
        connection.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?, ?)", rated)
    connection.close()
    return folder


def test_from_a_database_to_predictions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(home / "shortlist.toml")

    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as left:
            app.main([*words, *([] if words[0] == "init" else ["--config", config])])
        said = capsys.readouterr()
        assert left.value.code == code, said.err
        return said.out if code == 0 else said.err

    run("init", "--blueprint", "movies", "--out", config)
    text = (
        Path(config)
        .read_text()
        .replace(
            '"models.bayesian_fm:BayesianFm"',
            '"models.bayesian_fm:BayesianFm", factors = 6, sweeps = 40, warmup = 10, samples = 5',
        )
    )
    Path(config).write_text(text)
    loaded = json.loads(run("ingest", "--json"))
    assert [each["rejected"] for each in loaded["sources"]] == [{}, {}, {}]
    errors = run("evaluate")
    for name in ("biases", "stars", "svdpp"):
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
    lists = {
        name: run("recommend", str(FIRST_USER + 3), "--pipeline", name) for name in ("home", "best_rated", "context")
    }
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
