"""Machines that are full, read-only, small or shared: what a server says then, and that it recovers by itself."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.faults import world
from benchmarks.faults.oracle import Oracle
from benchmarks.faults.processes import Nursery, Process, Server

SIZE = 16 << 20  # bytes of the disk that is filled
MEMORY = 512 << 20
CGROUP = Path("/sys/fs/cgroup/memory")  # version 1: a directory is a group


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: int = SIZE) -> Iterator[bool]:
    """`folder` on a disk of its own of `size` bytes; false where mounting is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _mount("-t", "tmpfs", "-o", f"size={size}", "shortlist-faults", str(folder))
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A disk that fills up while events come in, and is freed again (P6). Where nothing can be mounted, every commit
    fails as on a full disk instead."""
    with small_disk(folder / "small") as real:
        home = world.copy(start, folder / "small" / "home")
        filler = home / "FAULT"
        failing = "" if real else "commit.before=while:ENOSPC, file.written=while:ENOSPC"

        def fill() -> None:
            with (
                filler.open("wb", buffering=0) as file,
                suppress(OSError),
            ):  # what a buffer held would fail at the close
                while real:
                    file.write(bytes(1 << 16))

        armed = {**(env or {}), "SHORTLIST_FAILPOINTS": failing}
        found = _trouble(nursery, home, armed, fill, filler.unlink, (507, "storage_full"), folder)
        return {"how": f"tmpfs of {SIZE >> 20} MB" if real else "errors in the place of a disk", **found}


def read_only(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A file system that is read-only at the start, and one that becomes so (P7)."""
    wrong: list[str] = []
    seconds, real = 0.0, False
    with small_disk(folder / "sealed") as mounted:
        home = world.copy(start, folder / "sealed" / "home")
        real = mounted and _mount("-o", "remount,ro", str(folder / "sealed"))
        if real:
            begun = time.monotonic()
            code, said = nursery.run("serve", "--port", "0", "--json", home=home, log=folder / "sealed.log")
            seconds = time.monotonic() - begun
            told = json.loads(said.splitlines()[-1])
            if code != 5 or "shortlist-data/store" not in str(told) or not told["hint"]:
                wrong.append(f"a start on a read-only disk ended with {code}: {said}")
    home = world.copy(start, folder / "home")
    failing = "commit.before=while:EROFS, file.written=while:EROFS"
    trouble = _trouble(
        nursery,
        home,
        {**(env or {}), "SHORTLIST_FAILPOINTS": failing},
        (home / "FAULT").touch,
        (home / "FAULT").unlink,
        (503, "dependency_unavailable"),
        folder,
    )
    trouble["wrong"] = [*wrong, *trouble["wrong"]]
    return {"how": "remount ro" if real else "not mounted", "refused_after_s": round(seconds, 3), **trouble}


def _trouble(
    nursery: Nursery,
    home: Path,
    env: dict[str, str],
    begin: Callable[[], None],
    end: Callable[[], None],
    expected: tuple[int, str],
    folder: Path,
) -> dict[str, Any]:
    """Drive a server, let trouble begin, see that events are refused and lists are not, let it end, judge."""
    oracle, wrong = Oracle(7), []
    server = Server.start(nursery, home, env=env, log=folder / "server.log")
    if server is None:
        return {"wrong": ["the server did not start"]}
    refused = lists = 0
    try:
        _drive(oracle, server, 0.3)
        begin()
        with server.client() as client:
            for number in range(400):
                body = {"user_id": f"q{number % 20}", "item_id": f"i{number % world.ITEMS}", "event_id": f"t{number}"}
                many = [{**body, "event_id": f"t{number}.{each}"} for each in range(500)]
                answer = client.post("/v1/events", json={"events": many})
                if answer.status_code == 202:
                    continue
                refused += 1
                if (answer.status_code, answer.json().get("code")) != expected or not answer.json().get("hint"):
                    wrong.append(f"events were answered with {answer.status_code}: {answer.text[:300]}")
                    break
                found = client.post("/v1/recommend", json={"user_id": f"u{number % 12}", "n": 5})
                if found.status_code != 200 or len(found.json()["items"]) != 5:
                    wrong.append(f"a list was answered with {found.status_code}: {found.text[:300]}")
                lists += 1
                if refused == 20:
                    break
            if refused < 20:
                wrong.append(f"only {refused} requests were refused")
            if client.get("/livez").status_code != 200:
                wrong.append("/livez fails")
            end()
            until = time.monotonic() + 5
            while (healed := client.post("/v1/events", json={"events": [body]})).status_code != 202:
                if time.monotonic() > until:
                    wrong.append(f"not healed after 5 s: {healed.status_code} {healed.text[:300]}")
                    break
        _drive(oracle, server, 0.3)
        oracle.check(server, everyone=True)
    finally:
        server.process.kill()
    server = Server.start(nursery, home, env=env, log=folder / "server.log")
    if server is None:
        return {"wrong": [*wrong, "the server does not start afterwards"]}
    try:
        oracle.settle(server)
        oracle.check(server, everyone=True)
    finally:
        server.process.kill()
    return {"refused": refused, "lists_meanwhile": lists, "wrong": [*wrong, *oracle.wrong]}


def _drive(oracle: Oracle, server: Server, seconds: float) -> None:
    stop = threading.Event()
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    oracle.drive(server, stop)
    timer.join()


def crowded(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A second process that wants to write to the same folder (P11)."""
    home, wrong = world.copy(start, folder / "home"), []
    server = Server.start(nursery, home, env=env, log=folder / "first.log")
    if server is None:
        return {"wrong": ["the server did not start"]}
    try:
        for command in (("serve", "--port", "0"), ("ingest", "events.csv")):
            code, said = nursery.run(*command, "--json", home=home, env=env, log=folder / "second.log", patience=10)
            if code != 8 or str(server.process.pid) not in said:
                wrong.append(f"a second `{command[0]}` ended with {code}: {said}")
        oracle = Oracle(11)
        _drive(oracle, server, 0.2)
        oracle.check(server, everyone=True)
        wrong += oracle.wrong
    finally:
        server.process.kill()
    return {"holder": "named by its pid", "wrong": wrong}


def small_memory(nursery: Nursery, start: Path, folder: Path, seconds: float = 2.0) -> dict[str, Any]:
    """A server under a limit of 512 MB, driven for `seconds` (P8)."""
    home, wrong = world.copy(start, folder / "home"), []
    with _group() as group:
        limits = {} if group else {"RLIMIT_DATA": MEMORY}
        server = Server.start(nursery, home, limits=limits, log=folder / "server.log")
        if server is None:
            return {"wrong": ["the server did not start"]}
        try:
            if group:
                (group / "cgroup.procs").write_text(str(server.process.pid))
            oracle = Oracle(13)
            _drive(oracle, server, seconds)
            oracle.check(server, everyone=True)
            wrong += oracle.wrong
            peak = _peak(server.process)
            if peak > MEMORY:
                wrong.append(f"it took {peak >> 20} MB")
        finally:
            server.process.kill()
    return {
        "how": "memory cgroup" if group else "RLIMIT_DATA",
        "limit_mb": MEMORY >> 20,
        "peak_mb": peak >> 20,
        "events": oracle.acknowledged["events"],
        "wrong": wrong,
    }


@contextmanager
def _group() -> Iterator[Path | None]:
    """A memory group with the limit; None where there are none to be had."""
    group = CGROUP / f"shortlist-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(MEMORY))
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        until = time.monotonic() + 5
        while group.is_dir() and time.monotonic() < until:
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.01)


def _peak(process: Process) -> int:
    """The most memory that a running process ever had, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0


def all_of(nursery: Nursery, start: Path, folder: Path) -> dict[str, Any]:
    """Everything here, each in a folder of its own."""
    found: dict[str, Any] = {}
    for part in (full, read_only, crowded, small_memory):
        (folder / part.__name__).mkdir()
        found[part.__name__] = part(nursery, start, folder / part.__name__)
    return {**found, "wrong": [each for part in found.values() for each in part["wrong"]]}
