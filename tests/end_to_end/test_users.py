"""`shortlist users`, `backup` and `restore`, with and without a server that holds the stores."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from shortlist.cli import app
from shortlist.config import Settings
from tests.end_to_end.test_http import serving


class Commands:
    """The command line in this process, for one installation."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.capsys = home, capsys

    def __call__(self, *arguments: str | Path, config: bool = True) -> tuple[int, Any]:
        """The exit code, and what --json printed."""
        self.capsys.readouterr()
        where = ("--config", str(self.home)) if config else ()
        try:
            app.main([*(str(each) for each in arguments), *where, "--json"])
        except SystemExit as left:
            code = int(left.code or 0)
        said = self.capsys.readouterr()
        return code, json.loads(said.out or said.err)


@pytest.fixture
def shortlist(installation: Settings, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(installation.home, capsys)


def test_show_export_erase_and_lift(shortlist: Commands, tmp_path: Path) -> None:
    code, shown = shortlist("users", "show", "u3")
    assert (code, shown["schema"]) == (0, "shortlist.users.show/1")
    assert shown["counts"]["events"] > 0
    assert shortlist("users", "export", "u3", "--to", tmp_path / "u3.json")[0] == 0
    assert (tmp_path / "u3.json").stat().st_mode & 0o777 == 0o600
    exported = json.loads((tmp_path / "u3.json").read_text())
    assert {name: len(each) for name, each in exported.items() if name != "user_id"} == shown["counts"]
    assert shortlist("users", "export", "u3") == (0, exported)
    assert shortlist("users", "export", "u3", "--to", tmp_path / "u3.json")[0] == 8

    code, refused = shortlist("users", "erase", "u3")
    assert (code, refused["code"], "--confirm" in refused["hint"]) == (2, "usage", True)
    code, done = shortlist("users", "erase", "u3", "--confirm")
    assert (code, done["status"], done["removed"]) == (0, "done", shown["counts"])
    assert "u3" not in json.dumps(done)
    assert shortlist("users", "erase", "u3", "--confirm") == (0, done)
    assert shortlist("users", "show", "u3")[0] == 4
    assert shortlist("users", "lift", "u3")[0] == 0
    assert shortlist("users", "lift", "u3")[0] == 4
    assert shortlist("users", "erase", "nobody", "--confirm")[0] == 4


def test_a_running_server_does_the_work(
    installation: Settings, shortlist: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(installation) as served:
        url = str(served.client.base_url)
        counts = shortlist("users", "show", "u3")[1]["counts"]
        exported = served.client.get("/v1/users/u3:export").json()
        assert shortlist("users", "export", "u3") == (0, exported)
        monkeypatch.setenv("SHORTLIST__SERVE__PORT", url.rpartition(":")[2].rstrip("/"))
        code, done = shortlist("users", "erase", "u3", "--confirm")
        assert (code, done["status"], done["removed"]) == (0, "done", counts)
        assert served.client.get("/v1/users/u3").status_code == 404
        assert served.client.get(f"/v1/erasures/{done['operation']}").json()["removed"] == counts
        assert [each["operation"] for each in served.client.get("/v1/erasures").json()["erasures"]] == [
            done["operation"]
        ]
        assert served.client.get("/v1/erasures/00").status_code == 404
        assert served.tell({"user_id": "u3", "item_id": "i1"})[0]["result"] == "rejected"
        assert shortlist("users", "lift", "u3", "--url", url)[0] == 0
        assert served.tell({"user_id": "u3", "item_id": "i1"})[0]["result"] == "accepted"
        assert shortlist("users", "erase", "nobody", "--confirm")[0] == 4
        monkeypatch.setenv("SHORTLIST__SERVE__PORT", "1")
        code, refused = shortlist("users", "erase", "u4", "--confirm")
        assert (code, refused["code"]) == (8, "conflict")
        assert "no server answers" in refused["message"]


def test_the_operation_is_polled_over_http(installation: Settings) -> None:
    with serving(installation) as served:
        asked = served.client.post("/v1/users/u5:erase")
        assert asked.status_code in (200, 202)
        assert served.client.get("/v1/users/u5").status_code == 404  # at once
        assert served.client.get("/v1/users/u5:export").status_code == 404
        operation, until = asked.json()["operation"], time.monotonic() + 60
        while (found := served.client.get(f"/v1/erasures/{operation}").json())["status"] != "done":
            assert time.monotonic() < until
        assert found["removed"]["events"] > 0
        assert served.client.post("/v1/users/u5:erase").json() == found
        assert served.client.post("/v1/users/nobody:erase").status_code == 404
        assert served.client.post("/v1/users/u6:lift").status_code == 404


def test_backup_and_restore_and_who_was_erased_since(shortlist: Commands, tmp_path: Path) -> None:
    code, made = shortlist("backup", "--to", tmp_path / "backup", "--verify")
    assert (code, made["verified"], made["events"] > 0) == (0, True, True)
    assert shortlist("backup", "--to", tmp_path / "backup")[0] == 8
    assert shortlist("users", "erase", "u3", "--confirm")[0] == 0
    code, done = shortlist("restore", tmp_path / "backup", "--to", tmp_path / "plain", config=False)
    assert (code, done["events"], done["erased"]) == (0, made["events"], 0)
    erased = ("--erasures", shortlist.home)
    code, done = shortlist("restore", tmp_path / "backup", "--to", tmp_path / "again", *erased, config=False)
    assert (code, done["erased"]) == (0, 1)
    shortlist.home = tmp_path / "again"
    assert shortlist("users", "show", "u3")[0] == 4
    assert shortlist("users", "show", "u4")[0] == 0
    shortlist.home = tmp_path / "plain"
    assert shortlist("users", "show", "u3")[0] == 0
    assert shortlist("restore", tmp_path / "nothing", "--to", tmp_path / "never", config=False)[0] == 4


def test_what_is_too_old_goes_by_command(shortlist: Commands) -> None:
    code, done = shortlist("users", "retain")
    assert (code, done["removed"]) == (0, {})
    (shortlist.home / "shortlist.toml").write_text('[retention]\nrate = "1d"\n')
    assert shortlist("users", "retain")[0] == 0
    (shortlist.home / "shortlist.toml").write_text('[retention]\nrated = "1d"\n')
    code, refused = shortlist("users", "retain")
    assert (code, "did you mean 'rate'" in refused["message"]) == (5, True)
    (shortlist.home / "shortlist.toml").write_text('[retention]\nrate = "soon"\n')
    assert shortlist("users", "retain")[1]["where"] == "retention.rate"
