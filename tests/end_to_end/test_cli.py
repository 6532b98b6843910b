"""The command line as people and scripts meet it: from files to a list, every word of failure, every exit code."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from shortlist import errors, release
from shortlist.cli import app, failures
from shortlist.config import load
from shortlist.data.world import generate

NOW = 1_700_000_000_000_000
SMALL = {"users": 80, "items": 150, "events": 4_000}


@dataclass(frozen=True)
class Done:
    """What one command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def command(*arguments: str | Path) -> Done:
        capsys.readouterr()
        code = 0
        try:
            app.main([str(each) for each in arguments])
        except SystemExit as left:
            code = int(left.code or 0)
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return command


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with events.csv, items.csv and nothing else."""
    folder = tmp_path_factory.mktemp("shop")
    frames = generate(now=NOW, **SMALL).frames
    events = frames.events.select("user", "item", "kind", "value", pl.col("time") // 1_000_000)
    events.rename({"user": "user_id", "item": "item_id", "time": "timestamp"}).write_csv(folder / "events.csv")
    items = frames.items.select(pl.col("item").alias("item_id"), "title", pl.col("genres").list.join("|"))
    items.write_csv(folder / "items.csv")
    return folder


@pytest.fixture(scope="module")
def trained(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, configured, ingested, trained and published, by the command line alone."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("events.csv", "items.csv"):
        (folder / name).write_bytes((shop / name).read_bytes())
    for arguments in (
        ("init", folder / "events.csv", folder / "items.csv", "--out", folder / "shortlist.toml"),
        ("ingest", "--config", folder),
        ("train", "--config", folder, "--publish"),
    ):
        with pytest.raises(SystemExit) as left:
            app.main([str(each) for each in (*arguments, "--quiet")])
        assert not left.value.code
    return folder


def someone(folder: Path) -> str:
    return str(pl.read_csv(folder / "events.csv")["user_id"][0])


# the path of a newcomer


def test_from_files_to_a_list(trained: Path, run: Run) -> None:
    answer = run("recommend", someone(trained), "-n", "5", "--config", trained, "--json").json
    assert answer["schema"] == "shortlist.recommend/1"
    assert [each["rank"] for each in answer["items"]] == [1, 2, 3, 4, 5]
    assert all(each["why"] and each["fields"]["title"] for each in answer["items"])
    assert answer["versions"]["release"] == release.current(load(trained).releases_path)
    seen = pl.read_csv(trained / "events.csv").filter(pl.col("user_id") == someone(trained))["item_id"].to_list()
    assert not {each["id"] for each in answer["items"]} & set(seen)


def test_similar_items_do_not_hold_the_item_itself(trained: Path, run: Run) -> None:
    item = str(pl.read_csv(trained / "items.csv")["item_id"][0])
    answer = run("similar", item, "-n", "5", "--config", trained, "--json").json
    assert answer["schema"] == "shortlist.similar/1"
    assert item not in [each["id"] for each in answer["items"]]
    assert len(answer["items"]) == 5


def test_what_the_ranker_reads_then_and_now(trained: Path, run: Run) -> None:
    told = run("features", "--people", "30", "--window", "14d", "--config", trained, "--json").json
    assert told["schema"] == "shortlist.features/1"
    columns = {each["name"]: each for each in told["columns"]}
    assert {"ease", "score.ease"} <= set(columns)
    assert columns["score.ease"]["covered"] == 1.0
    assert 0 < columns["ease"]["covered"] <= 1.0
    assert all(each["drift"] >= 0 for each in columns.values())
    assert told["people"][1] == 30
    done = run("features", "nowhere", "--config", trained)
    assert done.code == 4
    assert "there are: home, similar" in done.err


def test_a_list_for_people_has_titles_reasons_and_stages(trained: Path, run: Run) -> None:
    done = run("recommend", someone(trained), "--trace", "--config", trained)
    assert "why" in done.out
    assert "recall" in done.out
    assert "rows out" in done.out
    assert "next: shortlist similar" in done.err


def test_in_the_past_the_history_was_shorter(trained: Path, run: Run) -> None:
    person = someone(trained)
    now, before = (
        [each["id"] for each in run("recommend", person, "--config", trained, "--json", *at).json["items"]]
        for at in ((), ("--at", "1990-01-01"))
    )
    assert now != before
    nobody = run("recommend", "nobody-at-all", "--config", trained, "--json").json["items"]
    assert [each["id"] for each in nobody] == before


def test_facts_of_the_moment_are_names_and_values(trained: Path, run: Run) -> None:
    person = someone(trained)
    plain = run("recommend", person, "--config", trained, "--json").json["items"]
    said = run("recommend", person, "--fact", "pid=430_1", "--fact", "hour=7", "--config", trained, "--json")
    assert [each["id"] for each in said.json["items"]] == [each["id"] for each in plain]  # nobody reads them here
    done = run("recommend", person, "--fact", "pid", "--config", trained)
    assert done.code == 2
    assert "NAME=VALUE" in done.err


def test_an_empty_list_says_that_it_is_empty(trained: Path, run: Run) -> None:
    done = run("recommend", someone(trained), "--where", "'No Such Genre' in genres", "--config", trained)
    assert done.code == 0
    assert "nothing is left to propose" in done.err
    assert "next:" not in done.err


def test_loading_again_adds_nothing_twice(trained: Path, run: Run) -> None:
    (events,) = (
        each for each in run("ingest", "--config", trained, "--json").json["sources"] if each["entity"] == "events"
    )
    assert events["accepted"] == 0
    assert events["duplicate"] == events["rows"] > 0


def test_bad_rows_are_counted_and_kept(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "events.csv"
    file.write_text(
        "user_id,item_id,rating,timestamp\n1,a,5,1700000000\n2,a,4,1700000100\n,b,5,1700000200\n3,b,x,1700000300\n"
    )
    done = run("ingest", file, "--config", tmp_path, "--json")
    assert done.code == 0
    (summary,) = done.json["sources"]
    assert (summary["accepted"], sum(summary["rejected"].values())) == (2, 2)
    rejects = [json.loads(line) for line in Path(summary["rejects"]).read_text().splitlines()]
    assert [each["line"] for each in rejects] == [4, 5]
    assert all(each["reason"] and each["remedy"] for each in rejects)


def test_a_column_can_be_named_by_hand(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "seen.csv"
    file.write_text("who,what,at\nann,a,1700000000\nbob,b,1700000100\n")
    done = run(
        "ingest", file, *("--map", "user=who", "--map", "item=what", "--map", "time=at"), "--config", tmp_path, "--json"
    )
    assert done.json["sources"][0]["accepted"] == 2


def test_init_does_not_overwrite(shop: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "shortlist.toml"
    assert run("init", shop / "events.csv", "--out", out).code == 0
    written = out.read_text()
    done = run("init", shop / "items.csv", "--out", out)
    assert done.code == 8
    assert "--force" in done.err
    assert out.read_text() == written
    assert run("init", shop / "items.csv", "--out", out, "--force").code == 0


def test_init_begins_with_a_blueprint(tmp_path: Path, run: Run) -> None:
    shipped = {each.name: each.read_text("utf-8") for each in (files("shortlist") / "blueprints").iterdir()}
    names = {name.removesuffix(".toml") for name in shipped} - {"default", "annotated"}
    for name in names:
        out = tmp_path / name / "shortlist.toml"
        said = run("init", "--blueprint", name, "--out", out, "--json").json
        assert (said["blueprint"], said["sources"]) == (name, [])
        assert out.read_text("utf-8") == shipped[f"{name}.toml"]
        assert load(out).ingest
    refused = run("init", "--blueprint", "default", "--out", tmp_path / "none.toml")
    assert refused.code == 2
    assert all(name in refused.err for name in names)


def test_init_wants_files_or_a_blueprint_and_not_both(shop: Path, tmp_path: Path, run: Run) -> None:
    for given in ((), (shop / "events.csv", "--blueprint", "anime")):
        done = run("init", *given, "--out", tmp_path / "shortlist.toml")
        assert done.code == 2
        assert "--blueprint NAME" in done.err
    assert not list(tmp_path.iterdir())


def test_what_init_shows_is_what_the_files_hold(shop: Path, tmp_path: Path, run: Run) -> None:
    done = run("init", shop / "events.csv", shop / "items.csv", "--out", tmp_path / "shortlist.toml")
    assert "user_id" in done.out
    assert someone(shop) in done.out  # a sample value
    settings = load(tmp_path)
    assert {each.entity for each in settings.ingest.values()} == {"events", "items"}


def test_evaluate_says_what_came_out(trained: Path, run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = run("evaluate", "--config", trained, "--report", "html", "--out", page, "--json")
    assert done.json["schema"] == "shortlist.evaluate/1"
    assert "popular" in done.json["verdict"][0]
    assert {"home", "popular", "random"} <= {row["system"] for row in done.json["rows"]}
    assert "<svg" in page.read_text()


def test_through_the_gate_back_and_tidied_up(trained: Path, run: Run) -> None:
    root = load(trained).releases_path
    first = release.current(root)
    second = run("train", "--config", trained, "--json").json["release"]
    passed = run("publish", "--config", trained, "--json").json
    assert (passed["release"], passed["before"], passed["published"], passed["failed"]) == (second, first, True, [])
    assert {"integrity", "compatibility", "golden", "empty", "quality"} <= {row["name"] for row in passed["checks"]}
    assert release.current(root) == second
    assert run("rollback", "--config", trained, "--json").json == {
        "schema": "shortlist.rollback/1",
        "release": first,
        "before": second,
    }
    assert release.current(root) == first
    assert run("rollback", "--to", second, "--why", "only a test", "--config", trained).code == 0
    listed = run("models", "list", "--config", trained, "--json").json["releases"]
    assert [(each["release"], each["state"]) for each in listed] == [(second, "live"), (first, "previous")]
    shown = run("models", "show", "--config", trained, "--json").json
    assert [entry["action"] for entry in shown["history"]] == ["publish", "rollback"]
    assert shown["history"][-1]["why"] == "only a test"
    assert shown["history"][-1]["by"].endswith("at the command line")
    assert run("models", "prune", "--keep", "0", "--config", trained, "--json").json["removed"] == []


def test_a_refused_release_is_a_table_and_exit_code_7(trained: Path, run: Run) -> None:
    root = load(trained).releases_path
    live = release.current(root)
    made = run("train", "--config", trained, "--json").json["release"]
    array = next((root / made).glob("*.npy"))
    array.write_bytes(array.read_bytes()[:-1])
    for force in ((), ("--force",)):
        refused = run("publish", *force, "--config", trained, "--json")
        assert refused.code == 7
        assert refused.json["published"] is False
        assert refused.json["failed"] == ["integrity"]
        error = json.loads(refused.err)
        assert (error["code"], error["exit_code"]) == ("gate_failed", 7)
        assert "another size or SHA-256" in error["hint"]
    table = run("publish", "--config", trained)
    assert (table.code, "✗" in table.out, "integrity" in table.out) == (7, True, True)
    assert release.current(root) == live
    broken = run("models", "verify", "--config", trained, "--json")
    assert broken.code == 7
    assert [each["release"] for each in broken.json["releases"] if not each["whole"]] == [made]
    (root / made).rename(root / ".draft-1-gone")  # nothing else here shall meet it


# serving


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [sys.executable, "-m", "shortlist.cli", "serve", "--config", str(folder), "--port", "0", "--json", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server, json.loads(server.stdout.readline())
        finally:
            if server.poll() is None:
                server.kill()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_serving_ends_cleanly_and_others_may_read_beside_it(
    trained: Path, run: Run, sent: signal.Signals, code: int
) -> None:
    with serving(trained) as (server, ready):
        person = someone(trained)
        over_http = httpx.post(f"{ready['url']}/v1/recommend", json={"user_id": person, "n": 5}).json()
        beside = run("recommend", person, "-n", "5", "--config", trained, "--json").json
        assert [each["id"] for each in beside["items"]] == [each["id"] for each in over_http["items"]]
        locked = run("ingest", "--config", trained)
        assert locked.code == 8
        assert str(server.pid) in locked.err
        server.send_signal(sent)
        assert server.wait(30) == code


def test_a_port_that_is_taken_is_a_conflict(trained: Path, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("serve", "--port", str(taken.getsockname()[1]), "--config", trained)
    assert done.code == 8
    assert "--port" in done.err


# the demo


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.batch.demo.generate", lambda **given: generate(**given, **SMALL))


@pytest.mark.usefixtures("small_world")
def test_the_demo_shows_three_people(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--world", "generated", "--no-serve", "--keep", tmp_path, "--json")
    found = done.json
    assert found["schema"] == "shortlist.demo/1"
    assert [each["events"] > 0 for each in found["people"]] == [True, True, False]
    assert all(len(each["items"]) == 5 for each in found["people"])
    assert {"ingest", "evaluate", "train", "publish", "first lists"} <= set(found["seconds"])
    assert run("recommend", found["people"][0]["id"], "--config", tmp_path, "--json").code == 0


@pytest.mark.usefixtures("small_world")
def test_without_a_network_the_demo_says_why_it_shows_an_invented_world(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(cache: Path) -> None:
        raise errors.DataError("MovieLens 100K could not be downloaded: no route to host")

    monkeypatch.setattr("shortlist.batch.demo.fetch_movielens_100k", unreachable)
    done = run("demo", "--no-serve")
    assert done.code == 0
    assert "no route to host" in done.err
    assert "invented" in done.err


# help and output


COMMANDS = {" ".join(words): each for words, each in app.commands(app.command()) if words}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_first_and_speaks_json(name: str, run: Run) -> None:
    text = run(*name.split(), "--help").out
    assert text.index("Examples:") < text.index("Options:")
    assert f"shortlist {name}" in text
    assert "--json" in text or hasattr(COMMANDS[name], "commands")


def test_talk_goes_to_standard_error_and_quiet_silences_it(trained: Path, run: Run) -> None:
    arguments = ("recommend", someone(trained), "--config", trained)
    assert run(*arguments).err
    assert run(*arguments, "--quiet").err == ""
    assert run(*arguments, "--json").err == ""


def test_no_escape_codes_off_a_terminal(trained: Path, run: Run) -> None:
    done = run("recommend", someone(trained), "--config", trained)
    assert "\x1b" not in done.out + done.err


def test_options_can_come_from_the_environment(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORTLIST_RECOMMEND_COUNT", "3")
    assert len(run("recommend", someone(trained), "--config", trained, "--json").json["items"]) == 3


# failures


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trian"], 2, ["train"]),
        (["recommend", "1", "--jsn"], 2, ["--json"]),
        (["recommend", "1", "--at", "yesterday"], 2, ["--at", "2026-11-21T22:10:00Z"]),
        (["recommend", "1", "--pipeline", "hom"], 2, ["--pipeline", "home"]),
        (["recommend", "1", "--where", "titel == 'x'"], 2, ["--where", "title"]),
        (["similar", "no-such-item"], 4, ["no-such-item"]),
        (["publish", "2020-01-01T000000-00000000"], 4, ["newest releases there"]),
        (["evaluate", "--pipeline", "hom"], 4, ["home"]),
        (["ingest", "no-such-file.csv"], 4, ["no-such-file.csv"]),
        (["ingest", "x.csv", "--map", "usr=who"], 2, ["--map", "user"]),
    ],
)
def test_failures_name_what_where_and_the_remedy(
    trained: Path, run: Run, arguments: list[str], code: int, words: list[str]
) -> None:
    done = run(*arguments, "--config", trained) if arguments != ["trian"] else run(*arguments)
    assert done.code == code, done.err
    assert all(word in done.err for word in words), done.err
    assert "Traceback" not in done.err
    assert done.out == ""


def test_a_wrong_key_is_a_failure_of_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shortlist.toml").write_text("[serve]\nprot = 1\n")
    done = run("train", "--config", tmp_path)
    assert done.code == 5
    assert "did you mean 'port'" in done.err


@pytest.mark.parametrize("command", ["train", "evaluate", "recommend"])
def test_before_anything_was_loaded_the_remedy_is_to_load(run: Run, tmp_path: Path, command: str) -> None:
    done = run(command, *(["1"] if command == "recommend" else []), "--config", tmp_path)
    assert done.code == 4
    assert "shortlist ingest" in done.err


def test_a_failure_for_a_machine_is_one_object_on_standard_error(trained: Path, run: Run) -> None:
    done = run("similar", "no-such-item", "--config", trained, "--json")
    said = json.loads(done.err)
    assert done.out == ""
    assert said["schema"] == "shortlist.error/1"
    assert said["code"] == "not_found"
    assert said["exit_code"] == done.code == 4
    assert said["hint"]


def test_the_unexpected_leaves_a_report_and_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> str:
        raise RuntimeError("cannot reach mysql://ann:secret@host/db")

    monkeypatch.setattr("importlib.metadata.version", broken)
    done = run("version")
    assert done.code == 1
    assert "Traceback" not in done.err
    path = Path(next(line for line in done.err.splitlines() if line.startswith("where:")).split(maxsplit=1)[1])
    text = path.read_text()
    path.unlink()
    assert "Traceback" in text
    assert "secret" not in text + done.err


def test_every_error_has_its_words() -> None:
    """Each class of error is explained in four parts, whatever it was raised with."""
    codes = {each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert codes <= set(failures.WHY)
    for code in codes:
        assert all(failures.WHY[code])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), 9),
        (OSError(28, "No space left on device", "x"), 9),
        (PermissionError(13, "Permission denied", "x"), 5),
        (errors.StoreError("gone"), 6),
        (errors.StoreLocked("held"), 8),
        (errors.ReleaseError("damaged"), 7),
        (errors.DataError("bad"), 3),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    failure = failures.explain(error)
    assert failure.exit_code == code
    assert failure.remedy
