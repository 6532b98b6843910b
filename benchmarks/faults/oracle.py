"""What the client saw. It posts events and puts items and people, remembers what was acknowledged, and judges by that
alone a server that was killed: nothing acknowledged is lost, nothing happens twice, nothing happens that was not sent.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from benchmarks.faults.processes import Server
from benchmarks.faults.world import EVENTS, ITEMS
from shortlist.stores.embedded import Embedded

FIRST = 1_650_000_000  # seconds: event n of the client happened n seconds later, so that each has a time of its own
PEOPLE = 150


@dataclass
class Told:
    """One event that was sent."""

    user: str
    item: str
    at: int
    name: str | None  # event_id, None = derived from the facts
    state: str = "unsure"  # | "held" until its item is put | "done"

    def body(self) -> dict[str, Any]:
        time = datetime.fromtimestamp(FIRST + self.at, UTC).isoformat()
        body = {"user_id": self.user, "item_id": self.item, "type": "click", "time": time}
        return {**body, "event_id": self.name} if self.name else body


@dataclass
class Oracle:
    """Everything that was sent to one installation, whatever became of the servers that received it."""

    seed: int
    told: dict[int, Told] = field(default_factory=dict)  # by `at`
    versions: dict[tuple[str, str], set[int]] = field(default_factory=dict)  # (path, id) -> what it may be now
    wrong: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def drive(self, server: Server, stop: threading.Event) -> None:
        """Send from several threads until the server is gone or `stop` is set."""
        sends = (self._single, self._batch, self._put, self._newcomer)
        with self.lock:
            seeds = [random.Random(f"{self.seed} {len(self.told)} {n}") for n in range(len(sends))]

        def go(send: Any, chance: random.Random) -> None:
            try:
                with server.client() as client:
                    while not stop.is_set():
                        send(client, chance)
            except httpx.TransportError:
                pass  # killed: what was in flight stays unsure

        threads = [threading.Thread(target=go, args=pair) for pair in zip(sends, seeds, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def settle(self, server: Server) -> None:
        """A client that tries again: everything unsure is sent once more, and some of what was acknowledged too."""
        chance = random.Random(f"{self.seed} again {len(self.told)}")
        with server.client() as client:
            for (path, id), versions in list(self.versions.items()):
                if len(versions) > 1:
                    self._send_version(client, path, id, max(versions))
            unsure = [each for each in self.told.values() if each.state == "unsure"]
            done = [each for each in self.told.values() if each.state == "done"]
            again = chance.sample(done, min(20, len(done)))
            for start in range(0, len(unsure), 500):
                self._tell(client, unsure[start : start + 500])
            for each, result in zip(again, self._tell(client, again) if again else [], strict=True):
                if result != "duplicate":
                    self.wrong.append(f"event {each.at} was acknowledged, and is {result} when it is sent again")

    def check(self, server: Server, *, everyone: bool = False) -> None:
        """Compare what the server says now with what it had acknowledged."""
        people: dict[str, dict[int, Told]] = {}
        for each in self.told.values():
            people.setdefault(each.user, {})[each.at] = each
        chance = random.Random(f"{self.seed} check {len(self.told)}")
        some = list(people) if everyone else chance.sample(list(people), min(40, len(people)))
        with server.client() as client:
            for user in some:
                self._check_person(client, user, people[user])
            paths = list(self.versions.items())
            for (path, id), allowed in paths if everyone else chance.sample(paths, min(40, len(paths))):
                self._check_version(client, path, id, allowed)

    def check_files(self, home: Path) -> None:
        """The log itself, while nobody serves: every event once, and a database that is whole."""
        folder = home / "shortlist-data" / "store"
        with closing(sqlite3.connect(folder / "shortlist.db")) as sql:
            (found,) = sql.execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                self.wrong.append(f"the database is damaged: {found}")
            named = {file for (file,) in sql.execute("SELECT file FROM segment")}
        there = {each.name for each in (folder / "events").glob("*")} if (folder / "events").is_dir() else set()
        if not named <= there:
            self.wrong.append(f"segments are named and missing: {sorted(named - there)}")
        with Embedded.open(folder, read_only=True) as store:
            frames = [pl.DataFrame({"a": e.id[:, 0], "b": e.id[:, 1], "time": e.time}) for _, e in store.log.scan()]
        log = pl.concat(frames)
        twice = int(log.select(pl.struct("a", "b").is_duplicated().sum()).item())
        if twice:
            self.wrong.append(f"{twice} events of the log are there twice")
        mine = log.filter(pl.col("time") >= FIRST * 1_000_000)["time"] // 1_000_000 - FIRST
        times = Counter(mine.to_list())
        self._judge("the log", self.told, times)
        if len(log) - len(mine) != EVENTS:
            self.wrong.append(f"{len(log) - len(mine)} events of the beginning are there, {EVENTS} were loaded")

    # what is sent

    def _new(self, chance: random.Random, count: int, item: str = "") -> list[Told]:
        with self.lock:
            first = len(self.told)
            made = [
                Told(
                    f"p{chance.randrange(PEOPLE)}",
                    item or f"i{chance.randrange(ITEMS)}",
                    at,
                    f"e{at}" if chance.random() < 0.7 else None,
                )
                for at in range(first, first + count)
            ]
            self.told.update({each.at: each for each in made})
        return made

    def _single(self, client: httpx.Client, chance: random.Random) -> None:
        self._tell(client, self._new(chance, 1))

    def _batch(self, client: httpx.Client, chance: random.Random) -> None:
        self._tell(client, self._new(chance, chance.choice([3, 20, 60, 120])))

    def _put(self, client: httpx.Client, chance: random.Random) -> None:
        path = chance.choice(["items", "users"])
        id = f"i{chance.randrange(ITEMS)}" if path == "items" else f"p{chance.randrange(PEOPLE)}"
        version = max(self.versions.get((path, id), {0})) + 1
        self.versions.setdefault((path, id), {0} if path == "items" else {-1}).add(version)
        self._send_version(client, path, id, version)

    def _newcomer(self, client: httpx.Client, chance: random.Random) -> None:
        """Events about an item that nobody knows, then the item."""
        with self.lock:
            item = f"new{len(self.told)}"
        self._tell(client, self._new(chance, chance.choice([1, 5]), item))
        self.versions["items", item] = {-1, 1}
        self._send_version(client, "items", item, 1)

    def _tell(self, client: httpx.Client, events: list[Told]) -> list[str]:
        self.sent["events"] += len(events)
        answer = client.post("/v1/events", json={"events": [each.body() for each in events]})
        if answer.status_code != 202:
            with self.lock:
                self.wrong.append(f"events were answered with {answer.status_code}: {answer.text[:300]}")
            return [str(answer.status_code)] * len(events)
        results = [each["result"] for each in answer.json()["results"]]
        with self.lock:
            for each, result in zip(events, results, strict=True):
                if result in ("accepted", "duplicate"):
                    # of an event that is held already, "duplicate" may say that it still waits
                    waits = each.item.startswith("new") and self.versions.get(("items", each.item)) != {1}
                    each.state = "held" if waits else "done"
                elif result == "held":
                    each.state = "held"
                else:
                    self.wrong.append(f"event {each.at} is {result}")
                self.acknowledged["events"] += 1
        return results

    def _send_version(self, client: httpx.Client, path: str, id: str, version: int) -> None:
        self.sent[path] += 1
        answer = client.put(f"/v1/{path}/{id}", json={"fields": {"title": f"Title {version}", "version": version}})
        with self.lock:
            if answer.status_code not in (200, 201):
                self.wrong.append(f"PUT {path}/{id} was answered with {answer.status_code}: {answer.text[:300]}")
                return
            self.versions[path, id] = {version}
            self.acknowledged[path] += 1
            for each in self.told.values() if id.startswith("new") else ():
                if each.item == id and each.state == "held":
                    each.state = "done"

    # how it is judged

    def _check_person(self, client: httpx.Client, user: str, told: dict[int, Told]) -> None:
        answer = client.get(f"/v1/users/{user}/history", params={"limit": 1000})
        if answer.status_code == 404 and all(each.state != "done" for each in told.values()):
            return
        if answer.status_code != 200:
            self.wrong.append(f"the history of {user} was answered with {answer.status_code}")
            return
        times: Counter[int] = Counter()
        for each in answer.json()["events"]:
            at = int(datetime.fromisoformat(each["time"]).timestamp()) - FIRST
            times[at] += 1
            if at in told and each["item_id"] != told[at].item:
                self.wrong.append(f"event {at} of {user} is about {each['item_id']}, not {told[at].item}")
        self._judge(f"the history of {user}", told, times)

    def _judge(self, where: str, told: dict[int, Told], times: Counter[int]) -> None:
        for at, each in told.items():
            if each.state == "done" and not times[at]:
                self.wrong.append(f"lost: event {at} was acknowledged and is not in {where}")
            if times[at] > 1:
                self.wrong.append(f"twice: event {at} is {times[at]} times in {where}")
        invented = [at for at in times if at not in told]
        if invented:
            self.wrong.append(f"{where} holds {len(invented)} events that were never sent")

    def _check_version(self, client: httpx.Client, path: str, id: str, allowed: set[int]) -> None:
        answer = client.get(f"/v1/{path}/{id}")
        fields = answer.json()["fields"] if answer.status_code == 200 else {}
        version = int(fields.get("version", -1) if fields.get("version") is not None else -1)
        title = fields.get("title") or ""
        if version not in allowed:
            self.wrong.append(f"{path}/{id} has version {version}, acknowledged was one of {sorted(allowed)}")
        elif version > 0 and title != f"Title {version}":
            self.wrong.append(f"{path}/{id} is half of one put and half of another: {fields}")
