"""Real processes of Shortlist: started, watched, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

import shortlist

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0  # seconds until something that should have happened counts as broken


class Nursery:
    """Starts processes by forking from one that has everything imported."""

    def __init__(self) -> None:
        package = Path(shortlist.__file__).parents[1]  # the same build as here
        path = os.pathsep.join((str(ROOT), str(package), os.environ.get("PYTHONPATH", "")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.faults.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            text=True,
        )
        self._lock = threading.Lock()
        self._said()

    def start(
        self,
        *arguments: str,
        home: Path,
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        log: Path | None = None,
    ) -> Process:
        """A command line, running in `home`. `limits` are those of setrlimit by name."""
        log = log or home.with_name(f"{home.name}.log")
        log.unlink(missing_ok=True)
        said = self._ask(
            {"argv": arguments, "cwd": str(home), "env": dict(env or {}), "limits": dict(limits or {}), "log": str(log)}
        )
        return Process(self, said["pid"], log)

    def run(self, *arguments: str, home: Path, patience: float = PATIENCE, **options: Any) -> tuple[int, str]:
        """A command line to its end: exit code and what it said. Killed, with its code -9, after `patience` seconds."""
        process = self.start(*arguments, home=home, **options)
        try:
            code = process.wait(patience)
        except TimeoutError:
            code = -9
        return code, process.said()

    def wait(self, pid: int, *, block: bool) -> int | None:
        code: int | None = self._ask({"wait": pid, "block": block})["code"]
        return code

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        with self._lock:
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
            return self._said()

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Process:
    """One that was started, until it is known to have ended."""

    nursery: Nursery
    pid: int
    log: Path
    code: int | None = field(default=None)

    def ended(self) -> bool:
        if self.code is None:
            self.code = self.nursery.wait(self.pid, block=False)
        return self.code is not None

    def wait(self, seconds: float = PATIENCE) -> int:
        """Its exit code; killed when it takes too long."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                self.kill()
                raise TimeoutError(f"still running after {seconds} s; it said: {self.said()}")
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def kill(self, how: int = signal.SIGKILL) -> None:
        if not self.ended():
            os.kill(self.pid, how)
            self.code = self.nursery.wait(self.pid, block=True)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


@dataclass
class Server:
    """`shortlist serve` on a free port."""

    process: Process
    url: str
    seconds: float  # from the start to the first answer

    @staticmethod
    def start(nursery: Nursery, home: Path, **options: Any) -> Server | None:
        """Running and ready; None when it ended before it was."""
        begun = time.monotonic()
        process = nursery.start("serve", "--port", "0", "--json", home=home, **options)
        while True:
            for line in process.said().splitlines():
                if line.startswith('{"schema": "shortlist.serve/') and line.endswith("}"):
                    return Server(process, json.loads(line)["url"], time.monotonic() - begun)
            if process.ended():
                return None
            if time.monotonic() - begun > PATIENCE:
                process.kill()
                raise TimeoutError(f"no server after {PATIENCE} s; it said: {process.said()}")
            time.sleep(0.005)

    def client(self, timeout: float = 30.0) -> httpx.Client:
        return httpx.Client(
            base_url=self.url, timeout=timeout, trust_env=False, verify=False
        )  # to load no certificates
