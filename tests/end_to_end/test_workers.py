"""Several processes behind one address: one writes, all know; one dies, another comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from shortlist.config import Settings

WORKERS = 2
CONFIGURATION = (
    '[serve]\nport = 0\n[pipelines.home]\nlimit = 10\nsources.fresh = { use = "recall.fresh:Fresh", k = 50 }\n'
)


@contextmanager
def started(home: Path, workers: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`shortlist serve --workers`, and its address."""
    (home / "shortlist.toml").write_text(CONFIGURATION)
    command = [sys.executable, "-m", "shortlist.cli", "serve", "--workers", str(workers), "--json"]
    with subprocess.Popen([*command, "--config", str(home)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server, json.loads(server.stdout.readline())["url"]
        finally:
            server.terminate()
            server.wait(30)


@pytest.fixture
def team(installation: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with started(installation.home, WORKERS) as found:
        yield found


def ask(url: str, path: str, body: Any = None) -> httpx.Response:
    """One request on a connection of its own, so that any worker may get it."""
    with httpx.Client(base_url=url, timeout=20) as client:
        return client.get(path) if body is None else client.post(path, json=body)


def statusz(url: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(url, "/statusz").json()
    return found


def seen(url: str, wanted: Callable[[dict[int, dict[str, Any]]], bool], seconds: float = 20) -> dict[int, Any]:
    """What the workers say of themselves by their number, once it is as wanted."""
    found: dict[int, dict[str, Any]] = {}
    until = monotonic() + seconds
    while monotonic() < until:
        try:
            told = statusz(url)
        except httpx.HTTPError:
            continue
        found[told["worker"]["number"]] = told
        if wanted(found):
            return found
    raise AssertionError(f"not within {seconds} s: {found}")


def like(user: str, item: str) -> dict[str, Any]:
    return {"events": [{"user_id": user, "item_id": item, "type": "like"}]}


def test_an_event_counts_in_the_next_answer_of_every_worker(team: tuple[subprocess.Popen[str], str]) -> None:
    url = team[1]
    seen(url, lambda found: len(found) == WORKERS)
    for n in range(15):
        user = f"somebody-{n}"
        answer = ask(url, "/v1/events", like(user, "i5"))
        assert answer.status_code == 202, answer.text
        for _ in range(WORKERS):
            history = ask(url, f"/v1/users/{user}/history")
            assert history.status_code == 200, history.text
            assert [each["item_id"] for each in history.json()["events"]] == ["i5"]
            items = ask(url, "/v1/recommend", {"user_id": user, "n": 90}).json()["items"]
            assert "i5" not in {each["id"] for each in items}


def test_a_deletion_and_an_edited_scenario_hold_in_the_next_answer_of_every_worker(
    team: tuple[subprocess.Popen[str], str],
) -> None:
    _, url = team

    def change(method: str, path: str, body: Any = None) -> httpx.Response:
        with httpx.Client(base_url=url, timeout=20) as client:
            return client.request(method, path, json=body)

    def shown() -> list[str]:
        return [item["id"] for item in ask(url, "/v1/recommend", {"n": 20}).json()["items"]]

    for id in shown()[:4]:
        assert change("DELETE", f"/v1/items/{id}").status_code == 204
        assert all(id not in shown() for _ in range(4 * WORKERS))
    table = {"limit": 3, "sources": {"newest": {"use": "recall.fresh:Fresh", "k": 9}}}
    for limit in (3, 4):
        assert change("PUT", "/v1/scenarios/mine", {"table": {**table, "limit": limit}}).is_success
        for _ in range(4 * WORKERS):
            answer = ask(url, "/v1/recommend", {"scenario": "mine"})
            assert len(answer.json()["items"]) == limit, answer.text
    for number in range(4 * WORKERS):
        events = ask(url, "/v1/events", {"events": [{"user_id": f"somebody-{number}", "item_id": "i1"}]})
        assert events.status_code == 202
        (told,) = ask(url, f"/v1/events?user_id=somebody-{number}").json()["events"]
        assert (told["user_id"], told["item_id"]) == (f"somebody-{number}", "i1")


@pytest.mark.fault("M13")
def test_workers_answer_alike_and_like_one_alone(installation: Settings) -> None:
    def lists(url: str) -> list[list[str]]:
        asked = [{"user_id": f"u{user}", "n": 10, "seed": 7, "explain": "none"} for user in range(20)]
        return [[each["id"] for each in ask(url, "/v1/recommend", one).json()["items"]] for one in asked]

    with started(installation.home, 1) as (_, url):
        alone = lists(url)
    with started(installation.home, WORKERS) as (_, url):
        assert [lists(url) for _ in range(3)] == [alone] * 3


@pytest.mark.fault("P9")
@pytest.mark.parametrize("writer", [True, False])
def test_a_worker_that_dies_is_back_soon_and_nothing_else_fails(
    team: tuple[subprocess.Popen[str], str], writer: bool
) -> None:
    url = team[1]
    before = seen(url, lambda found: len(found) == WORKERS)
    victim = next(told for told in before.values() if told["worker"]["writes"] == writer)
    os.kill(victim["worker"]["pid"], signal.SIGKILL)
    number, old = victim["worker"]["number"], victim["worker"]["pid"]
    after = seen(url, lambda found: found.get(number, victim)["worker"]["pid"] != old)
    assert {told["release"] for told in after.values()} == {victim["release"]}
    until = monotonic() + 20
    while (answer := ask(url, "/v1/events", like("afterwards", "i5"))).status_code != 202:
        assert answer.status_code == 503, answer.text
        assert monotonic() < until
    assert ask(url, "/v1/users/afterwards/history").json()["events"]


@pytest.mark.fault("P5")
@pytest.mark.parametrize("workers", [1, 2])
def test_told_to_stop_it_drops_no_answer_and_ends_well(installation: Settings, workers: int) -> None:
    with started(installation.home, workers) as (server, url):
        dropped: list[str] = []
        answered = threading.Semaphore(0)

        def client() -> None:
            with httpx.Client(base_url=url, timeout=20) as connection:
                while True:
                    try:
                        answer = connection.post("/v1/recommend", json={"user_id": "u3"})
                    except httpx.ConnectError:
                        return  # the door is closed: nothing of ours was taken
                    except httpx.HTTPError as error:
                        dropped.append(repr(error))
                        return
                    if answer.status_code != 200:
                        dropped.append(answer.text)
                    answered.release()

        clients = [threading.Thread(target=client) for _ in range(3)]
        for each in clients:
            each.start()
        for _ in range(30):
            answered.acquire()
        server.terminate()
        assert server.wait(20) == 0
        for each in clients:
            each.join(20)
        assert dropped == []


def test_what_keeps_the_writer_from_starting_is_told(installation: Settings) -> None:
    with started(installation.home, 1):
        command = [sys.executable, "-m", "shortlist.cli", "serve", "--workers", "2", "--port", "0"]
        second = subprocess.run(
            [*command, "--config", str(installation.home)], capture_output=True, text=True, timeout=60, check=False
        )
    assert second.returncode == 8
    assert "is being written by process" in second.stderr


@pytest.mark.slow
@pytest.mark.fault("P14")
def test_many_starts_of_many_workers(installation: Settings) -> None:
    """Spawned, not forked: no start hangs on a lock that a thread of somebody else held."""
    for _ in range(50):
        with started(installation.home, 4) as (_, url):
            assert ask(url, "/v1/recommend", {"user_id": "u3"}).status_code == 200
