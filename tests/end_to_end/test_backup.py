"""Backup beside a server that writes, restore elsewhere: what was at the mark is there, nothing else."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import config, release
from shortlist.batch import backup
from shortlist.batch.backup import Occupied
from shortlist.batch.steps import open_configured
from shortlist.config import Settings
from shortlist.errors import ConfigError, NotFound, StoreError
from shortlist.runtime import Runtime
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from shortlist.stores import embedded_log
from shortlist.types import Events
from tests.end_to_end.test_http import serving

CREATED = "2026-06-01T00:00:00+00:00"


def events(settings: Settings) -> Events:
    with open_configured(settings, read_only=True) as stores:
        return Events.concat([batch for _, batch in stores.log.scan()])


def moved(settings: Settings, home: Path) -> Settings:
    return replace(settings, home=home)


def test_a_backup_under_load_is_the_state_of_one_moment(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publish: Callable[..., str]
) -> None:
    for name, value in (("BULK", 40), ("ROLL", 60)):
        monkeypatch.setattr(embedded_log, name, value)  # segments all the time
    (installation.home / "shortlist.toml").write_text("[serve]\nport = 8123\n")
    stop, begun, sent = threading.Event(), threading.Event(), [0]
    with serving(installation) as served:

        def write() -> None:
            while not stop.is_set():
                number = sent[0]
                served.tell(
                    *({"user_id": "w", "item_id": f"i{n % 40}", "event_id": f"{number}-{n}"} for n in range(50))
                )
                sent[0] += 1
                begun.set()
                served.runtime.settle(lambda state: None)  # a snapshot replaces the one before

        before = served.runtime.stores.log.end()
        writing = threading.Thread(target=write)
        writing.start()
        assert begun.wait(30)
        marks = []
        for number in range(4):
            low = sent[0]
            made = backup.backup(installation, tmp_path / f"backup-{number}", created=CREATED)
            marks.append((low, made.events, sent[0]))
            assert backup.verify(tmp_path / f"backup-{number}").files == made.files
        stop.set()
        writing.join()
    whole = events(installation)
    for number, (low, count, high) in enumerate(marks):
        home = tmp_path / f"restored-{number}"
        made = backup.restore(tmp_path / f"backup-{number}", home)
        assert made.events == count
        assert low * 50 <= count - int(before) <= (high + 1) * 50
        found = events(moved(installation, home))
        assert len(found) == count
        np.testing.assert_array_equal(found.id, whole.id[:count])
        assert config.load(home).serve.port == 8123
        with Runtime.open(moved(installation, home)) as runtime:
            assert runtime.release.version == release.current(installation.releases_path) == made.release
            answer = Service(runtime, Metrics()).privacy.export("w")
            assert len(answer["events"]) == count - int(before)


def test_a_folder_that_is_half_removed_when_it_is_listed_is_not_taken(
    installation: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer replaces the state just then: the database names the next folder, of the old one a part is left."""
    with Runtime.open(installation) as runtime:
        runtime.settle(lambda state: None)  # there is a snapshot
    listed, replaced = os.listdir, []

    def removing(folder: Path) -> list[str]:
        if folder.parent.name == "state" and not replaced:
            following = folder.with_name("999999")
            shutil.copytree(folder, following)
            with closing(sqlite3.connect(folder.parents[1] / backup.FILE)) as sql, sql:
                sql.execute("UPDATE meta SET value = '999999' WHERE key = 'state.folder'")
            replaced.append(listed(folder))
            for name in replaced[0][: len(replaced[0]) // 2]:
                (folder / name).unlink()
        return listed(folder)

    monkeypatch.setattr(backup.os, "listdir", removing)
    made = backup.backup(installation, tmp_path / "backup", created=CREATED)
    taken = [Path(name).parts[-2:] for name in made.files if "/state/" in name]
    assert replaced
    assert sorted(taken) == sorted(("999999", name) for name in replaced[0])


def test_a_restored_installation_answers_as_the_one_that_was_backed_up(installation: Settings, tmp_path: Path) -> None:
    def answers(settings: Settings) -> list[list[str]]:
        with serving(settings) as served:
            return [served.ids(user_id=f"u{n}", n=8, seed=1) for n in range(20)]

    before = answers(installation)
    backup.backup(installation, tmp_path / "backup", created=CREATED)
    shutil.rmtree(installation.home)
    backup.restore(tmp_path / "backup", tmp_path / "again")
    assert answers(moved(installation, tmp_path / "again")) == before


def test_nothing_is_overwritten(installation: Settings, tmp_path: Path) -> None:
    backup.backup(installation, tmp_path / "backup", created=CREATED)
    with pytest.raises(Occupied, match="not empty"):
        backup.backup(installation, tmp_path / "backup", created=CREATED)
    with pytest.raises(Occupied, match="shortlist-data is there already"):
        backup.restore(tmp_path / "backup", installation.home)
    assert not (installation.home / ".restoring").exists()


def test_damage_is_found_before_anything_is_restored(installation: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    made = backup.backup(installation, folder, created=CREATED)
    for name in sorted(made.files):
        path = folder / name
        whole = path.read_bytes()
        path.unlink()  # it may be a link to the original
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:] if whole else b"x")
        with pytest.raises(StoreError, match="another size or SHA-256"):
            backup.verify(folder)
        path.unlink()
        with pytest.raises(StoreError, match="missing"):
            backup.restore(folder, tmp_path / "never")
        path.write_bytes(whole)
    assert not (tmp_path / "never").exists()
    backup.verify(folder)
    with pytest.raises(NotFound, match="no complete backup"):
        backup.restore(tmp_path / "nowhere", tmp_path / "never")


@pytest.mark.parametrize("name", ["../out", "/etc/out", "home/../../out", "other/x", "home", "home/a/../../../b"])
def test_a_manifest_that_leads_outside_is_refused(name: str, installation: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    backup.backup(installation, folder, created=CREATED)
    said = json.loads((folder / "backup.json").read_text())
    said["files"][name] = {"size": 1, "sha256": "0" * 64}
    (folder / "backup.json").write_text(json.dumps(said))
    with pytest.raises(StoreError, match="leads out"):
        backup.restore(folder, tmp_path / "never")


@pytest.mark.parametrize(
    "change", [{"format": 99}, {"files": 3}, {"files": {"home/x": {}}}, {"events": "many"}, {"settings": None}]
)
def test_a_manifest_that_cannot_be_understood_is_refused(
    change: dict[str, Any], installation: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    backup.backup(installation, folder, created=CREATED)
    said = json.loads((folder / "backup.json").read_text())
    (folder / "backup.json").write_text(json.dumps({**said, **change}))
    with pytest.raises(StoreError, match=r"damaged|format 99"):
        backup.verify(folder)


def test_stores_outside_the_home_folder_come_along(installation: Settings, tmp_path: Path) -> None:
    shutil.move(installation.home / "shortlist-data" / "store", tmp_path / "far")
    tables = {"stores": dict.fromkeys(("catalog", "log", "state", "index"), f"file:{tmp_path / 'far'}")}
    settings = config.parse(tables, home=installation.home)
    made = backup.backup(settings, tmp_path / "backup", created=CREATED)
    assert set(made.settings.values()) == {"file:elsewhere/0"}
    backup.restore(tmp_path / "backup", tmp_path / "again")
    (tmp_path / "again" / "shortlist.toml").write_text("")
    assert len(events(config.load(tmp_path / "again", dict(made.settings)))) == made.events > 0


def test_stores_that_are_no_folders_are_refused(tmp_path: Path) -> None:
    settings = config.parse({"stores": {"state": "memory:"}}, home=tmp_path)
    with pytest.raises(ConfigError, match="memory: is no folder"):
        backup.backup(settings, tmp_path / "backup", created=CREATED)
    assert not (tmp_path / "backup").exists()
