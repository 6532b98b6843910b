"""`shortlist tune` from files to a pasted table: what it prints, that it goes on, what it refuses."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist.cli import app
from shortlist.data.world import generate

Run = Callable[..., tuple[int, str, str]]
ABSURD = '[train.models.ease]\nreg = 100000.0\n\n[shortlist]\nsize = "small"\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an absurd configuration and a store of invented events."""
    folder = tmp_path_factory.mktemp("shop")
    frames = generate(now=1_700_000_000_000_000, users=320, items=200, events=15_000).frames
    events = frames.events.select("user", "item", "kind", "value", pl.col("time") // 1_000_000)
    events.rename({"user": "user_id", "item": "item_id", "time": "timestamp"}).write_csv(folder / "events.csv")
    for words in (("init", folder / "events.csv", "--out", folder / "shortlist.toml"), ("ingest", "--config", folder)):
        with pytest.raises(SystemExit) as left:
            app.main([str(each) for each in (*words, "--quiet")])
        assert not left.value.code
    with (folder / "shortlist.toml").open("a") as file:
        file.write(f"\n{ABSURD}")
    return folder


@pytest.fixture
def run(shop: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main(["tune", *words, "--config", str(shop)])
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return command


def answer(run: Run, *words: str) -> dict[str, Any]:
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_from_an_absurd_value_to_a_table_that_is_better(run: Run, shop: Path, tmp_path: Path) -> None:
    words = ("ease", "--search", "reg=1,10,100,1000,10000,100000", "--report", "html", "--out")
    found = answer(run, *words, str(tmp_path / "tune.html"))
    assert found["schema"] == "shortlist.tune/1"
    (search,) = found["searches"]
    assert search["configured"]["params"] == {"reg": 100_000.0}
    assert search["best"]["params"]["reg"] in (1, 10, 100)
    assert search["difference"]["low"] > 0
    assert search["part"] == "valid"
    assert "early" in {each["state"] for each in search["tried"]}
    page = (tmp_path / "tune.html").read_text("utf-8")
    assert "the test part was not read" in page
    assert page.count("<svg") == 2

    text = (shop / "shortlist.toml").read_text("utf-8")
    pasted = text.replace("[train.models.ease]\nreg = 100000.0\n", search["toml"])
    assert tomllib.loads(pasted)["train"]["models"]["ease"]["reg"] == search["best"]["params"]["reg"]


def test_it_goes_on_where_it_ended(run: Run) -> None:
    words = ("ease", "--search", "half_life")
    first = answer(run, *words, "--trials", "2")["searches"][0]["tried"]
    code, _, err = run(*words, "--trials", "4")
    assert code == 0
    assert "2 settings known already" in err
    assert "3/4 half_life" in err
    assert "4/4 half_life" in err
    assert "1/4" not in err
    again = answer(run, *words, "--trials", "4")["searches"][0]["tried"]
    assert len(again) == 4
    assert again[:2] == first
    assert len(answer(run, *words, "--trials", "1", "--fresh")["searches"][0]["tried"]) == 1


def test_people_read_a_sentence_a_table_and_lines_to_paste(run: Run) -> None:
    code, out, err = run("ease", "--search", "reg=10", "--trials", "2")
    assert code == 0
    assert "better than what is configured" in out
    assert "[train.models.ease]" in out
    assert "reg = 10.0" in out
    assert "the test part was not read" in err
    assert "next: put the lines into shortlist.toml" in err


def test_without_names_it_is_about_every_model_in_use_and_time_bounds_all(run: Run) -> None:
    found = answer(run, "--minutes", "0.0001")["searches"]
    assert [each["name"] for each in found] == [f"train.models.{name}" for name in ("als", "ease", "knn", "next")]
    assert all(len(each["tried"]) == 1 and each["ended"] == "time was up" for each in found)


def test_stopped_by_hand_it_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, seed: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shortlist.models.ease.Ease.fit", interrupted)
    code, out, err = run("ease", "--search", "half_life", "--fresh")
    assert (code, out) == (130, "")
    assert "what was tried is kept, the same command goes on" in err


def test_a_pipeline(run: Run) -> None:
    (search,) = answer(run, "--pipeline", "home", "--search", "sources.ease.k=20", "--trials", "2")["searches"]
    assert search["name"] == "pipelines.home"
    assert [each["params"] for each in search["tried"]] == [{"sources.ease.k": 150}, {"sources.ease.k": 20}]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nobody",), 4, "there are: als, ease, knn, next"),
        (("--pipeline", "nobody"), 4, "there are: home, similar"),
        (("ease", "--search", "regg=1"), 5, "did you mean 'reg'"),
        (("ease", "--search", "reg=-1"), 5, "must be greater than 0"),
        (("ease", "--metric", "accuracy"), 5, "ndcg"),
        (("ease", "knn", "--search", "half_life"), 2, "one model"),
        (("ease", "--pipeline", "home"), 2, "not searched together"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(run: Run, words: tuple[str, ...], code: int, message: str) -> None:
    left, out, err = run(*words)
    assert left == code
    assert message in err
    assert out == ""


def test_without_optuna_it_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import shortlist.batch

    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "shortlist.batch.optuna", raising=False)
    monkeypatch.delattr(shortlist.batch, "optuna", raising=False)
    code, _, err = run("ease")
    assert code == 5
    assert "Optuna" in err
    assert "pip install 'shortlist[tune]'" in err
