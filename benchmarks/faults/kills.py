"""The kill loop: start, drive, kill at any moment or at a boundary, start again, judge."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.faults import world
from benchmarks.faults.child import DIED
from benchmarks.faults.oracle import Oracle
from benchmarks.faults.processes import Nursery, Process, Server

YOUNG = 25  # rounds after which another installation is taken, so that young stores are killed as often as old ones
SERVED = (
    "lock.taken",
    "lock.cleared",
    "lock.named",
    "commit.before",
    "commit.after",
    "file.written",
    "file.synced",
    "file.cleared",
    "file.renamed",
    "sweep.removed",
    "log.segment",
    "log.committed",
    "log.known",
    "catalog.ids",
    "catalog.put",
    "catalog.applied",
    "state.written",
    "state.named",
    "held.named",
    "held.appended",
    "fold.begun",
    "fold.features",
    "fold.pushed",
)
"""Boundaries that a server comes to by itself while it takes in events, items and people."""


@dataclass
class Found:
    """What came of a run."""

    rounds: int = 0
    kills: int = 0
    at: Counter[str] = field(default_factory=Counter)  # kills by boundary, "" = at any moment
    sent: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0  # seconds from a start to the first answer

    def result(self) -> dict[str, Any]:
        return {
            "rounds": self.rounds,
            "kills": self.kills,
            "killed_at": dict(sorted(self.at.items())),
            "sent": dict(self.sent),
            "acknowledged": dict(self.acknowledged),
            "lost": sum(each.startswith("lost") for each in self.wrong),
            "twice": sum(each.startswith("twice") for each in self.wrong),
            "wrong": self.wrong[:50],
            "slowest_start_s": round(self.slowest, 3),
        }


def loop(
    nursery: Nursery,
    start: Path,
    folder: Path,
    rounds: int,
    seed: int,
    *,
    env: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    keep: Callable[[Found], None] = lambda found: None,
) -> Found:
    """`rounds` lives of servers over copies of `start`: two of three end at a boundary, one at any moment. `keep` is
    told what was found so far whenever another installation is taken."""
    found, chance = Found(), random.Random(seed)
    for begin in range(0, rounds, YOUNG):
        home = world.copy(start, folder / f"home-{begin}")
        oracle = Oracle(seed + begin)
        for number in range(begin, min(begin + YOUNG, rounds)):
            point = SERVED[number * 2 // 3 % len(SERVED)] if number % 3 != 1 else ""
            ended_at = life(nursery, home, oracle, chance, point, found, env or {})
            found.rounds += 1
            found.kills += ended_at is not None
            found.at[ended_at or ""] += ended_at is not None
            if oracle.wrong:
                say(f"round {number} ({point or 'any moment'}): {oracle.wrong[0]}")
                break
        after(nursery, home, oracle, env or {}, found, everyone=True)
        oracle.check_files(home)
        found.wrong += oracle.wrong
        found.sent.update(oracle.sent)
        found.acknowledged.update(oracle.acknowledged)
        say(f"{found.rounds} rounds, {found.acknowledged['events']:,} events acknowledged, {len(found.wrong)} wrong")
        keep(found)
    return found


def life(
    nursery: Nursery,
    home: Path,
    oracle: Oracle,
    chance: random.Random,
    point: str,
    found: Found,
    env: Mapping[str, str],
) -> str | None:
    """One server: judged, driven and killed. Where it ended; None when it never came to `point`."""
    armed = {"SHORTLIST_SMALL": "1", **env}
    if point:
        nth = chance.choice([1, 2, 3]) if found.at[point] and not point.startswith("lock") else 1
        armed["SHORTLIST_FAILPOINTS"] = f"{point}=exit@{nth}"
    server = Server.start(nursery, home, env=armed)
    if server is None:  # it died while starting, as it was told, or it cannot start any more
        return point if point else _broken(oracle, "the server did not start")
    found.slowest = max(found.slowest, server.seconds)
    stop = threading.Event()
    ending = threading.Thread(target=_end, args=(server.process, stop, chance.uniform(0.02, 0.35), point))
    try:
        oracle.check(server)
        oracle.settle(server)
        ending.start()
        oracle.drive(server, stop)
    except httpx.TransportError:  # it came to the boundary in the middle of a judgement
        if not point:
            raise
        ending.start()
    ending.join()
    if not point:
        return ""
    return point if server.process.code == DIED else None


def after(
    nursery: Nursery, home: Path, oracle: Oracle, env: Mapping[str, str], found: Found, *, everyone: bool = False
) -> None:
    """Start once more without a fault, let the client try again, judge, and stop."""
    server = Server.start(nursery, home, env={"SHORTLIST_SMALL": "1", **env})
    if server is None:
        _broken(oracle, "the server did not start")
        return
    found.slowest = max(found.slowest, server.seconds)
    try:
        oracle.check(server, everyone=everyone)
        oracle.settle(server)
        oracle.check(server, everyone=everyone)
    finally:
        server.process.kill()


def _end(process: Process, stop: threading.Event, seconds: float, point: str) -> None:
    """Kill after `seconds`; when it is to die at a boundary, give it longer to come there."""
    until = time.monotonic() + (5.0 if point else seconds)
    while time.monotonic() < until and not process.ended():
        time.sleep(0.005)
    process.kill()
    stop.set()


def _broken(oracle: Oracle, what: str) -> None:
    oracle.wrong.append(what)
