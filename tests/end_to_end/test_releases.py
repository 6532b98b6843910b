"""Releases over HTTP: what there is, through the gate, refused with its table, back again."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from shortlist import release
from shortlist.batch.steps import make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.runtime import Runtime
from shortlist.serve.http import address, application, listen, server
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from tests.conftest import TABLES


@pytest.fixture(scope="module")
def two(_loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The tiny installation with two releases of the daily path, the older one live."""
    home = tmp_path_factory.mktemp("two")
    shutil.copytree(_loaded, home, dirs_exist_ok=True)
    settings = parse(TABLES, home=home)
    with open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        for day in (1, 2):
            make_release(settings, data, stores, created=datetime(2026, 1, day, tzinfo=UTC))
    release.publish(settings.releases_path, release.versions(settings.releases_path)[0], by="the fixture")
    return settings


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    with Runtime.open(settings) as runtime:
        listening = listen("127.0.0.1", 0)
        running = server(application(Service(runtime, Metrics()), poll=60))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with httpx.Client(base_url=address(listening), timeout=60) as client:
                yield client
        finally:
            running.should_exit = True
            thread.join()
            listening.close()


@pytest.fixture
def client(two: Settings, tmp_path: Path) -> Iterator[httpx.Client]:
    shutil.copytree(two.home, tmp_path / "home")
    with served(replace(two, home=tmp_path / "home")) as client:
        yield client


def serving(client: httpx.Client) -> str:
    version: str = client.post("/v1/recommend", json={"n": 1}).json()["versions"]["release"]
    return version


def test_published_and_rolled_back_it_is_served_when_the_answer_arrives(client: httpx.Client) -> None:
    newer, older = client.get("/v1/releases").json()["releases"]
    assert (newer["state"], older["state"]) == ("kept", "live")
    passed = client.post("/v1/releases/newest:publish", json={"why": "a test"}).json()
    assert (passed["release"], passed["before"], passed["failed"]) == (newer["version"], older["version"], [])
    assert {row["verdict"] for row in passed["checks"]} <= {"pass", "none"}
    assert serving(client) == newer["version"]
    detail = client.get("/v1/releases/current").json()
    assert detail["release"]["state"] == "live"
    assert detail["facts"]["events"] == detail["release"]["events"]
    assert [(each["action"], each["why"]) for each in detail["history"]] == [("publish", "a test")]
    assert detail["history"][0]["by"].startswith("HTTP request ")
    back = client.post("/v1/releases:rollback", json={}).json()
    assert back == {"release": older["version"], "before": newer["version"]}
    assert serving(client) == older["version"]
    assert client.get("/v1/releases/previous").status_code == 404
    assert client.post("/v1/releases:rollback", json={}).status_code == 404
    assert client.post("/v1/releases:rollback", json={"to": newer["version"]}).json()["release"] == newer["version"]


def test_a_refusal_is_a_409_with_the_table_and_changes_nothing(client: httpx.Client, tmp_path: Path) -> None:
    newer, older = (each["version"] for each in client.get("/v1/releases").json()["releases"])
    array = next((tmp_path / "home").glob(f"**/{newer}/*.npy"))
    array.write_bytes(array.read_bytes()[:-1] + b"!")
    for force in (False, True):
        refused = client.post(f"/v1/releases/{newer}:publish", json={"force": force})
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "gate_failed")
        assert problem["attached"]["failed"] == ["integrity"]
        (row,) = problem["attached"]["checks"]
        assert "another size or SHA-256" in row["hint"] == problem["hint"]
    assert serving(client) == older
    assert client.post("/v1/releases:rollback", json={"to": newer}).json()["code"] == "gate_failed"
    assert serving(client) == older
    assert client.get(f"/v1/releases/{newer}").json()["history"][-1]["failed"] == ["integrity"]


@pytest.mark.parametrize("version", ["2026-01-01T000000-00000000", "%2E%2E%2Fx"])
def test_a_version_that_is_not_there_is_a_404(client: httpx.Client, version: str) -> None:
    assert client.get(f"/v1/releases/{version}").status_code == 404
    assert client.post(f"/v1/releases/{version}:publish", json={}).status_code == 404
