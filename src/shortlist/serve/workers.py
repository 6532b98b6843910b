"""Several processes behind one address: spawned, never forked, each with the release mapped from the same files.

    supervisor     holds the listening socket; starts a worker again when it dies; computes nothing
    worker 0       the one process that writes: takes the lock of the stores
    worker 1 ...   read beside it, look before each answer for what it has acknowledged, and pass writes on to it

All accept connections from the one socket, so that none is lost with a worker but those it was answering.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import FrameType

import msgspec
from msgspec import Struct
from threadpoolctl import threadpool_limits

from shortlist import errors
from shortlist.config import Settings, load
from shortlist.errors import ShortlistError, StoreError
from shortlist.runtime import Runtime
from shortlist.serve import logs
from shortlist.serve.http import address, application, guard, listen
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from shortlist.serve.siblings import WRITER, Siblings
from shortlist.serve.stopping import close_door, server

START = 120.0  # seconds that a worker may take until it is ready
STOP = 12.0  # seconds that the workers have to finish what they began
WELL = 5.0  # seconds after which a worker counts as having started well
PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)  # seconds before the next start, by how many in a row went wrong


class Orders(Struct):
    """What a worker is told on its command line."""

    config: str
    folder: str  # of the Unix sockets
    number: int
    count: int
    listening: int  # file descriptors
    control: int


class Word(Struct):
    """What a worker says once: ready, or why not."""

    release: str = ""
    error: str = ""  # name of an error class
    message: str = ""
    where: str = ""
    hint: str = ""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(
    settings: Settings, config: Path, workers: int, *, port: int | None = None, announce: Callable[[str, str], None]
) -> None:
    """Answer with `workers` processes until told to stop. `announce` is told the address and the release once all of
    them answer. What keeps a worker from its first start is raised here; later it is started again and again."""
    guard(settings)
    wanted = settings.serve.port if port is None else port
    with (
        listen(settings.serve.host, wanted) as listening,
        TemporaryDirectory(prefix="shortlist-") as folder,
        _Team(config, Path(folder), workers, listening) as team,
    ):
        announce(address(listening), team.start())
        team.watch()


class _Worker:
    """One process, from start to start."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: subprocess.Popen[bytes] | None = None
        self.control: socket.socket | None = None
        self.since = 0.0
        self.failures = 0
        self.due = 0.0  # monotonic: when it is to be started again

    def spawn(self, config: Path, siblings: Siblings, listening: socket.socket) -> None:
        self.close()
        ours, theirs = socket.socketpair()
        orders = Orders(
            str(config), str(siblings.folder), self.number, siblings.count, listening.fileno(), theirs.fileno()
        )
        command = [sys.executable, "-m", "shortlist.serve.workers", msgspec.json.encode(orders).decode()]
        with theirs:
            self.process = subprocess.Popen(
                command, pass_fds=(listening.fileno(), theirs.fileno()), start_new_session=True
            )
        self.control, self.since = ours, monotonic()

    def word(self, seconds: float) -> Word:
        """Wait for what it says at its start."""
        assert self.control is not None
        self.control.settimeout(seconds)
        try:
            said = self.control.recv(65_536)
        except TimeoutError:
            said = b""
        if not said:
            raise StoreError(f"worker {self.number} ended before it was ready", hint="what it printed above says why")
        self.control.setblocking(False)
        return msgspec.json.decode(said, type=Word)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def close(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None


class _Team:
    """The workers, and what becomes of one that dies."""

    def __init__(self, config: Path, folder: Path, count: int, listening: socket.socket) -> None:
        self.config, self.listening = config, listening
        self.siblings = Siblings(folder, -1, count)
        self.workers = [_Worker(number) for number in range(count)]
        self.told = False  # to stop

    def __enter__(self) -> _Team:
        self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        signal.signal(signal.SIGTERM, self._before)

    def start(self) -> str:
        """All of them, the one that writes first: it makes the store that the others read. The release they serve."""
        release = ""
        for worker in self.workers:
            worker.spawn(self.config, self.siblings, self.listening)
            word = worker.word(START)
            if word.error:
                raise _raised(word)
            release = word.release
        return release

    def watch(self) -> None:
        """Start again whoever dies, until told to stop."""
        while not self.told:
            controls = [worker.control for worker in self.workers if worker.control is not None]
            open_ = [each for each in controls if each.fileno() >= 0]  # one that was shut belongs to somebody dying
            wait = min([0.25, *(max(0.0, each.due - monotonic()) for each in self.workers if not each.alive)])
            for ready in select.select(open_, [], [], wait)[0]:
                with suppress(OSError):
                    if ready.recv(65_536):  # it is ready
                        continue
                ready.close()
            for worker in self.workers:
                if not worker.alive and not self.told:
                    self._again(worker)

    def _again(self, worker: _Worker) -> None:
        now = monotonic()
        if worker.control is not None:  # it has just died
            worker.close()
            worker.failures = 0 if now - worker.since > WELL else worker.failures + 1
            worker.due = now + PAUSES[min(worker.failures, len(PAUSES) - 1)]
        if now >= worker.due:
            worker.spawn(self.config, self.siblings, self.listening)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    def _end(self) -> None:
        """The one that writes stops last: the others may still have something for it."""
        until = monotonic() + STOP
        close_door(self.listening)
        self.listening.close()  # the last worker lets in whoever is in the queue, then nobody holds it
        for worker in reversed(self.workers):
            if worker.process is not None and worker.alive:
                worker.process.terminate()
                if worker.number == WRITER + 1:
                    self._wait(self.workers[WRITER + 1 :], until)
        self._wait(self.workers, until)

    @staticmethod
    def _wait(workers: list[_Worker], until: float) -> None:
        for worker in workers:
            if worker.process is not None:
                try:
                    worker.process.wait(max(0.1, until - monotonic()))
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()
            worker.close()


def _raised(word: Word) -> ShortlistError:
    kind = getattr(errors, word.error, StoreError)
    made: ShortlistError = kind(word.message, where=word.where, hint=word.hint)
    return made


def work(orders: Orders) -> None:
    """The life of one worker."""
    control = socket.socket(fileno=orders.control)
    listening = socket.socket(fileno=orders.listening)
    siblings = Siblings(Path(orders.folder), orders.number, orders.count)
    try:
        runtime = Runtime.open(load(Path(orders.config)), read_only=orders.number != WRITER)
    except ShortlistError as error:
        word = Word("", type(error).__name__, error.message, error.where, error.hint)
        control.sendall(msgspec.json.encode(word))
        sys.exit(error.exit_code)
    threading.Thread(target=_outlive, args=(control,), daemon=True).start()
    with runtime, siblings.listen() as heard, threadpool_limits(1):
        service = Service(runtime, Metrics(), siblings)
        logs.configure()
        running = server(application(service), service.leave, shared=True)
        control.sendall(msgspec.json.encode(Word(runtime.release.version)))
        try:
            running.run(sockets=[listening, heard])
        finally:
            service.close()


def _outlive(control: socket.socket) -> None:
    """Stop when the supervisor is gone."""
    with suppress(OSError):
        control.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    work(msgspec.json.decode(sys.argv[1], type=Orders))
