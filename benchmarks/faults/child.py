"""The test build: a process that starts `shortlist` commands with failpoints armed, small limits, planted defects.

    SHORTLIST_FAILPOINTS   "log.committed=exit@3, file.written=raise, fold.begun=delay:50"   @N = from the N-th time on;
                           "commit.before=while:ENOSPC" fails like that while there is a file called FAULT beside it
    SHORTLIST_SMALL        1 = segments, snapshots and compactions come after dozens of events, not after thousands
    SHORTLIST_DEFECT       the name of one defect of `benchmarks.faults.defects`

Run as a program it is a nursery: it imports everything once and forks for every command that it reads from stdin, so
that a server starts in a fraction of a second. What it starts is a process of its own, with its own files and memory.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from shortlist import failpoints

DIED = 77  # exit code of a process that ended at a failpoint
SMALL: Mapping[str, int] = {
    "shortlist.stores.embedded_log:ROLL": 64,
    "shortlist.stores.embedded_log:BULK": 40,
    "shortlist.stores.embedded_log:SEGMENT": 100,
    "shortlist.stores.embedded_catalog:COMPACT_AT_OPEN": 20,
    "shortlist.stores.embedded_catalog:COMPACT_WHILE_OPEN": 60,
    "shortlist.runtime:SNAPSHOT": 90,
}
PRELOADED = (
    "shortlist.cli.app",
    "shortlist.serve.http",
    "shortlist.batch.steps",
    "shortlist.data.load",
    "shortlist.data.guess",
    "shortlist.stores.embedded",
    "shortlist.filters.available",
    "shortlist.filters.seen",
    "shortlist.recall.fresh",
    "shortlist.recall.popular",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "benchmarks.faults.jobs",
)


def hits(wanted: str) -> Callable[[str], None]:
    """What to do at the boundaries that `wanted` names, as SHORTLIST_FAILPOINTS writes it."""
    plan: dict[str, tuple[str, int]] = {}
    for each in filter(None, map(str.strip, wanted.split(","))):
        name, _, rest = each.partition("=")
        action, _, nth = rest.partition("@")
        if name not in failpoints.POINTS:
            raise ValueError(f"{name!r} is not one of shortlist.failpoints.POINTS")
        plan[name] = action, int(nth or 1)
    seen: Counter[str] = Counter()

    def hit(name: str) -> None:
        if name not in plan:
            return
        seen[name] += 1
        action, nth = plan[name]
        if seen[name] < nth:
            return
        if action == "exit":
            os._exit(DIED)  # nothing is flushed, closed or unwound: as if the power had gone
        if action == "raise":
            raise OSError(errno.EIO, f"failpoint {name}")
        verb, _, detail = action.partition(":")
        if verb == "delay":
            time.sleep(float(detail) / 1000)
        elif verb != "while":
            raise ValueError(f"{action!r} is none of exit, raise, delay:MS, while:ERROR")
        elif os.path.exists("FAULT"):
            number = getattr(errno, detail)
            raise OSError(number, os.strerror(number))

    return hit


def prepare(environment: Mapping[str, str]) -> None:
    """Arm this process as `environment` says."""
    if environment.get("SHORTLIST_SMALL"):
        for place, value in SMALL.items():
            module, name = place.split(":")
            home = importlib.import_module(module)
            if not hasattr(home, name):
                raise AttributeError(f"{module} has no {name}")
            setattr(home, name, value)
    if defect := environment.get("SHORTLIST_DEFECT"):
        importlib.import_module("benchmarks.faults.defects").plant(defect)
    if wanted := environment.get("SHORTLIST_FAILPOINTS"):
        failpoints.arm(hits(wanted))


def run(arguments: list[str]) -> None:
    """A command line of `shortlist`, or a job of `benchmarks.faults.jobs` as "@name"."""
    if arguments[0].startswith("@"):
        jobs = importlib.import_module("benchmarks.faults.jobs")
        getattr(jobs, arguments[0][1:])(*arguments[1:])
    else:
        importlib.import_module("shortlist.cli.app").main(arguments)


def _born(wanted: Mapping[str, Any]) -> None:
    """The life of a forked process."""
    os.setsid()
    os.chdir(wanted["cwd"])
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(wanted["env"])
    code = 1
    try:
        for kind, amount in wanted["limits"].items():
            resource = importlib.import_module("resource")
            resource.setrlimit(getattr(resource, kind), (amount, amount))
        prepare(os.environ)
        run(wanted["argv"])
        code = 0
    except SystemExit as left:
        code = int(left.code or 0) if not isinstance(left.code, str) else 1
    except BaseException:
        importlib.import_module("traceback").print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def nursery() -> None:
    """Read commands as JSON lines, answer each with one line."""
    for name in PRELOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.write(answers, b"{}\n")
    codes: dict[int, int] = {}
    alive: set[int] = set()
    for line in sys.stdin:
        wanted = json.loads(line)
        if "argv" in wanted:
            pid = os.fork()
            if not pid:
                os.close(answers)
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                _born(wanted)
            codes.pop(pid, None)  # numbers of processes come again
            alive.add(pid)
            said = {"pid": pid}
        else:
            pid = wanted["wait"]
            if pid not in codes:
                ended, status = os.waitpid(pid, 0 if wanted["block"] else os.WNOHANG)
                if ended:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                    alive.discard(pid)
            said = {"code": codes.get(pid)}
        os.write(answers, json.dumps(said).encode() + b"\n")
    for pid in alive:  # whoever asked is gone: nobody else will end these
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    nursery()
