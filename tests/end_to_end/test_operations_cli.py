"""The commands that look after an installation: config, schema, events, doctor."""

from __future__ import annotations

import json
import os
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shortlist.batch.steps import open_configured
from shortlist.cli import app, doctor, events, settings
from shortlist.config import load, parse
from shortlist.runtime import Runtime
from shortlist.serve.intake import Intake
from shortlist.serve.metrics import Metrics
from shortlist.serve.wire import EventInput
from tests.end_to_end.test_http import serving


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shop:
    """A folder and a command line in it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def write(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path

    def run(self, *words: str | Path) -> Done:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main([str(each) for each in words])
        said = self.capsys.readouterr()
        return Done(int(left.value.code or 0), said.out, said.err)


@pytest.fixture
def shop(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path, capsys)


def test_every_value_says_where_it_comes_from(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.write("shortlist.toml", "[serve]", "port = 9000", "burst = 7", "[events.kinds]", "rate = { least = 4 }")
    monkeypatch.setenv("SHORTLIST__SERVE__PORT", "9001")
    monkeypatch.setenv("SHORTLIST__STORES__STATE", "redis://me:hunter2@host/0")
    found = {each["key"]: each for each in shop.run("config", "show", "--json").json["keys"]}
    wanted = {
        "serve.port": (9001, "environment SHORTLIST__SERVE__PORT", 8000),
        "serve.burst": (7, "shortlist.toml", 100),
        "serve.host": ("127.0.0.1", "default", "127.0.0.1"),
        "events.kinds.rate.least": (4.0, "shortlist.toml", "-inf"),
        "stores.state": ("redis://me:***@host/0", "environment SHORTLIST__STORES__STATE", "file:shortlist-data/store"),
    }
    for key, (value, source, default) in wanted.items():
        assert (found[key]["value"], found[key]["source"], found[key]["default"]) == (value, source, default)
    shown = shop.run("config", "show", "--sources")
    assert "hunter2" not in shown.out
    assert "environment SHORTLIST__SERVE__PORT" in shown.out
    changed = shop.run("config", "show", "--changed", "--json").json["keys"]
    assert {each["key"] for each in changed} == {*wanted} - {"serve.host"}


def test_every_key_has_a_meaning_and_a_type(shop: Shop) -> None:
    shop.write("shortlist.toml", "[ingest.shop]", 'source = "x.csv"', "[train.models.mine]", 'use = "models.als:Als"')
    for each in settings.all_keys(shop.folder):
        assert each.meaning, each.key
        assert each.type not in ("", "any"), each.key
    by_key = {each.key: each for each in settings.all_keys(shop.folder)}
    assert by_key["train.models.als.factors"].type == "whole number"
    assert by_key["ingest.shop.time_unit"].default == "auto"
    assert by_key["ingest.shop.time_unit"].meaning.startswith("auto | s | ms")


def test_explain_one_key_and_a_table(shop: Shop) -> None:
    said = shop.run("config", "explain", "serve.port").out
    assert "whole number" in said
    assert "SHORTLIST__SERVE__PORT" in said
    assert {each["key"] for each in shop.run("config", "explain", "history", "--json").json["keys"]} == {"history.keep"}
    wrong = shop.run("config", "explain", "serve.prt")
    assert wrong.code == 4
    assert "serve.port" in wrong.err


def test_check_lists_all_that_is_wrong(shop: Shop) -> None:
    assert shop.run("config", "check").code == 0
    shop.write(
        "shortlist.toml",
        "[train]",
        'window = "soon"',
        "[train.models]",
        'als = { use = "models.als:Als", factor = 3 }',
        'other = { use = "elsewhere:Thing" }',
        "[ingest.shop]",
        'source = "nowhere-*.csv"',
    )
    done = shop.run("config", "check", "--json")
    assert done.code == 5
    assert {each["where"] for each in done.json["problems"]} == {
        "train.window",
        "train.models.als",
        "train.models.other",
        "ingest.shop.source",
    }
    assert all(each["message"] for each in done.json["problems"])


def test_the_schema_of_the_configuration_fits_the_annotated_file(shop: Shop) -> None:
    assert shop.run("schema", "config", "-o", "schema.json").code == 0
    schema = json.loads((shop.folder / "schema.json").read_text("utf-8"))

    def fits(value: Any, shape: dict[str, Any], where: str) -> None:
        if "enum" in shape:
            assert value in shape["enum"], where
        kind = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
        wanted = shape.get("type", kind[type(value)])
        assert kind[type(value)] == wanted or (wanted, type(value)) == ("number", int), where
        if isinstance(value, dict):
            known = shape.get("properties", {})
            for name, each in value.items():
                below = known.get(name, shape.get("additionalProperties", {}))
                assert below is not False, f"{where}.{name} is no key"
                fits(each, below if isinstance(below, dict) else {}, f"{where}.{name}")
        for each in value if isinstance(value, list) else []:
            fits(each, shape.get("items", {}), where)

    fits(tomllib.loads(settings.annotated()), schema, "")
    with pytest.raises(AssertionError, match="prt is no key"):
        fits({"serve": {"prt": 1}}, schema, "")
    port = schema["properties"]["serve"]["properties"]["port"]
    assert (port["type"], port["default"]) == ("integer", 8000)
    assert parse(tomllib.loads(settings.annotated())) == parse({})


def test_the_other_contracts(shop: Shop) -> None:
    assert shop.run("schema", "openapi").json["openapi"] == "3.1.0"
    shop.write("shortlist.toml", "[events.kinds]", "borrow = { code = 100 }")
    event = shop.run("schema", "events", "--json").json["$defs"]["EventInput"]
    assert "borrow" in event["properties"]["type"]["enum"]
    assert shop.run("schema", "nothing").code == 2


def loaded(shop: Shop) -> None:
    shop.write("items.csv", "item_id,title", "a,Alpha", "b,Beta", "c,Gamma")
    rows = [f"u{n % 5},{'abc'[n % 3]},{1_700_000_000 + n}" for n in range(30)]
    shop.write("clicks.csv", "user_id,item_id,time", *rows, ",a,1700000000")
    assert shop.run("ingest", "items.csv", "clicks.csv").code == 0


def test_the_newest_events(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(shop)
    lines = shop.run("events", "tail", "-n", "3").out.splitlines()
    assert [line.split()[2:4] for line in lines] == [["u2", "a"], ["u3", "b"], ["u4", "c"]]
    assert lines[-1].startswith("2023-11-14T22:13:49Z")
    monkeypatch.setattr(events, "PAGE", 4)
    found = shop.run("events", "tail", "--user", "u1", "-n", "4", "--json").json["events"]
    assert [each["item"] for each in found] == ["c", "b", "a", "c"]
    assert shop.run("events", "tail", "--kind", "buy", "--json").json["events"] == []
    assert shop.run("events", "tail", "--kind", "nothing").code == 2


def test_what_was_refused(shop: Shop) -> None:
    loaded(shop)
    (row,) = shop.run("events", "tail", "--rejected", "--json").json["events"]
    assert (row["line"], row["reason"]) == (32, "missing-user")
    assert "clicks.csv:32: missing-user" in shop.run("events", "tail", "--rejected").out
    assert shop.run("events", "tail", "--rejected", "--user", "u1").code == 2


def test_what_waits_for_its_item(shop: Shop) -> None:
    loaded(shop)
    assert shop.run("events", "tail", "--held").out == ""
    with Runtime.open(load(shop.folder)) as runtime:
        intake = Intake(runtime, Metrics())
        for user, item, kind in (("u1", "later", "click"), ("u2", "later", "buy"), ("u1", "never", "buy")):
            (result,) = intake.take([EventInput(user_id=user, item_id=item, type=kind)])
            assert result.result == "held"

    def waiting(*words: str) -> list[tuple[str, str]]:
        found = shop.run("events", "tail", "--held", "--json", *words).json["events"]
        return [(each["user"], each["item"]) for each in found]

    assert waiting() == [("u1", "later"), ("u2", "later"), ("u1", "never")]
    assert waiting("-n", "1") == [("u1", "never")]
    assert waiting("--user", "u1", "--kind", "click") == [("u1", "later")]
    assert waiting("--kind", "buy", "-n", "0") == []
    first, *_ = shop.run("events", "tail", "--held").out.splitlines()
    assert first.split()[1:4] == ["click", "u1", "later"]
    assert shop.run("events", "tail", "--held", "--rejected").code == 2


def test_following_shows_what_comes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(shop)

    class Stopped(Exception):
        pass

    def more(seconds: float) -> None:
        if "late" in (shop.folder / "clicks.csv").read_text("utf-8"):
            raise Stopped
        shop.write("clicks.csv", "user_id,item_id,time", "late,new,1700001000", ",b,1700000000")
        from shortlist.data.load import load as load_source
        from shortlist.data.mapping import Mapping

        configured = load(shop.folder)
        with open_configured(configured) as stores:
            load_source(
                shop.folder / "clicks.csv",
                Mapping(time="time"),
                stores.catalog,
                stores.log,
                kinds=configured.kinds,
                now=1_700_002_000_000_000,
                rejects=configured.rejects_path / "later.rejects.jsonl",
            )

    monkeypatch.setattr(events.time, "sleep", more)
    done = shop.run("events", "tail", "--follow", "-n", "0", "--json")
    (line,) = done.out.splitlines()
    assert (json.loads(line)["user"], json.loads(line)["item"]) == ("late", "new")
    done = shop.run("events", "tail", "--rejected", "--follow", "-n", "0")
    assert done.out == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["events", "tail"], 4, "there is no store"),
        (["serve", "--nope"], 2, "where: shortlist serve"),
        (["recommend"], 2, "Missing argument"),
        (["recomend"], 2, "recommend"),
    ],
)
def test_failures_have_four_parts(shop: Shop, words: list[str], code: int, said: str) -> None:
    done = shop.run(*words)
    assert done.code == code
    assert said in done.err
    assert "error: " in done.err
    assert "do:    " in done.err


def test_the_doctor_of_an_empty_folder_and_of_a_good_one(shop: Shop) -> None:
    empty = shop.run("doctor")
    assert empty.code == 4
    assert "there is no store" in empty.out
    loaded(shop)
    shop.write("shortlist.toml", "[serve]", "port = 1")
    good = shop.run("doctor", "--json")
    assert good.code == 0
    checks = {each["check"]: each for each in good.json["checks"]}
    assert len(checks) >= 20
    assert checks["port"]["level"] == checks["writer"]["level"] == "ok"
    warned = {name for name, each in checks.items() if each["level"] == "warning"}
    assert {"stale data", "rejected rows", "release"} <= warned <= {"stale data", "rejected rows", "release", "disk"}
    assert all(each["remedy"] for each in checks.values() if each["level"] != "ok")
    told = shop.run("doctor").out
    assert "make one with: shortlist train --publish" in told


def test_the_doctor_asks_a_server_that_wants_keys_how_it_is(shop: Shop) -> None:
    loaded(shop)

    def server() -> dict[str, Any]:
        checks = shop.run("doctor", "--json").json["checks"]
        found: dict[str, Any] = next(each for each in checks if each["check"] == "server")
        return found

    shop.write("shortlist.toml", "[serve]", 'keys = "required"')
    with serving(load(shop.folder)) as served:
        shop.write("shortlist.toml", "[serve]", f"port = {served.client.base_url.port}")
        assert server() == {"check": "server", "level": "ok", "said": "serves no release", "remedy": "", "exit_code": 0}
        current = load(shop.folder).releases_path / "CURRENT"
        current.parent.mkdir(parents=True)
        current.write_text("2026-01-01T000000-12345678\n")
        told = server()
        assert told["level"] == "warning"
        assert "2026-01-01T000000-12345678 is published" in told["said"]
        assert "models verify" in told["remedy"]
    with open_configured(load(shop.folder)):
        assert server()["level"] == "ok"  # a command that writes, and no server
        with socket.create_server(("127.0.0.1", 0)) as silent:
            shop.write("shortlist.toml", "[serve]", f"port = {silent.getsockname()[1]}")
            assert server()["level"] == "warning"


def test_the_doctor_finds_what_was_planted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded(shop)

    def level(check: str, code: int, *lines: str) -> dict[str, Any]:
        shop.write("shortlist.toml", *lines)
        done = shop.run("doctor", "--json")
        assert done.code == code
        return next(each for each in done.json["checks"] if each["check"] == check)

    kinds = ["[events.kinds.click]", "weight = 0"]
    assert "30 click: weight 0 says nothing" in level("positives", 5, *kinds)["said"]
    assert level("configuration", 5, "[train]", 'window = "soon"')["level"] == "error"
    assert "shortlist keys create" in level("access", 5, "[serve]", 'host = "0.0.0.0"')["remedy"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert level("port", 0, "[serve]", f"port = {port}")["level"] == "warning"
        with open_configured(load(shop.folder)):
            assert level("port", 0, "[serve]", f"port = {port}")["level"] == "ok"
            assert f"process {os.getpid()}" in level("writer", 0)["said"]
    monkeypatch.setattr(doctor, "SCARCE", 1 << 60)
    assert level("disk", 9)["level"] == "error"
    monkeypatch.setattr(doctor, "SCARCE", 0)
    monkeypatch.setattr(doctor, "_available", lambda: 1000)
    assert level("memory", 0)["level"] == "warning"
    database = shop.folder / "shortlist-data" / "store" / "shortlist.db"
    late = database.stat().st_mtime + 3600
    os.utime(database, (late, late))
    assert "60 minutes before" in level("clock", 5)["said"]
