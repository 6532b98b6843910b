"""Row P9: one of several workers is killed, again and again, while a client goes on asking."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from benchmarks.faults import world
from benchmarks.faults.processes import PATIENCE, Nursery, Process

WORKERS = 2
GOAL = 2.0  # seconds until the one that died is answered for
GROWN = 6.0  # seconds of life after which nothing waits with the next start, see serve.workers
PAUSE = 0.02  # seconds between two questions, so that they do not take the time that a start needs


class Client:
    """Asks one thing after the other, each on a connection of its own, so that any worker may get it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.failed = 0  # were in flight when a worker died
        self.wrong: list[str] = []

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer; of a request that fails, that of the second try, which must not."""
        try:
            return self._once(path, body)
        except httpx.TransportError:
            self.failed += 1
        try:
            return self._once(path, body)
        except httpx.TransportError as error:
            self.wrong.append(f"{path} failed twice: {error!r}")
            return None

    def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        with httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, verify=False) as client:
            answer = client.get(path) if body is None else client.post(path, json=body)
        if answer.status_code != 200:
            self.wrong.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        return answer.json()

    def answering(self) -> dict[str, int]:
        """Number and process of the worker that answers now; a list is asked for as well."""
        time.sleep(PAUSE)
        self.ask("/v1/recommend", {"user_id": "u1", "n": 5})
        told = self.ask("/statusz")
        return told["worker"] if told else {"number": -1, "pid": -1}


def killed(nursery: Nursery, start: Path, folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Kill the one that writes and the one that reads in turns, `rounds` times in all."""
    home = world.copy(start, folder / "home")
    process = nursery.start("serve", "--workers", str(WORKERS), "--port", "0", "--json", home=home)
    try:
        client = Client(_address(process))
        pids: dict[int, int] = {}
        while len(pids) < WORKERS:
            told = client.answering()
            pids[told["number"]] = told["pid"]
        since = dict.fromkeys(pids, time.monotonic())
        taken: dict[int, list[float]] = {number: [] for number in pids}
        for turn in range(rounds):
            number = turn % WORKERS
            while time.monotonic() < since[number] + GROWN:
                client.answering()
            begun, old = time.monotonic(), pids[number]
            os.kill(old, signal.SIGKILL)
            while pids[number] == old:
                told = client.answering()
                if time.monotonic() > begun + PATIENCE:
                    raise TimeoutError(f"worker {number} is not back after {PATIENCE} s; {client.wrong}")
                if told["number"] == number:
                    pids[number], since[number] = told["pid"], time.monotonic()
            taken[number].append(round(since[number] - begun, 3))
            say(f"worker {number}: back after {taken[number][-1]} s")
    finally:
        process.kill(signal.SIGTERM)
    every = [each for part in taken.values() for each in part]
    late = [f"a worker was back after {each} s" for each in every if each > GOAL]
    late += [f"{client.failed} requests failed, one may by a kill"] if client.failed > rounds else []
    return {
        "rounds": rounds,
        "workers": WORKERS,
        "median_s": round(median(every), 3),
        "slowest_s": max(every),
        "slowest_of_writer_s": max(taken[0]),
        "failed_in_flight": client.failed,
        "load_average": round(os.getloadavg()[0], 1),
        "wrong": client.wrong + late,
    }


def _address(process: Process) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for line in process.said().splitlines():
            if line.startswith('{"schema": "shortlist.serve/') and line.endswith("}"):
                return str(json.loads(line)["url"])
        time.sleep(0.01)
    process.kill()
    raise TimeoutError(f"no server after {PATIENCE} s; it said: {process.said()}")
