"""A Milvus server for tests, from the wheel `milvus`, and a network of its own for it: it listens on every address and
leaves children behind when it is told to stop, so `alone` runs pytest where both end with the call."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

PORT = 19530
PATIENCE = 600  # seconds until it listens, or has ended: it unpacks half a gigabyte first
INSIDE = "SHORTLIST_TEST_MILVUS"  # set where a server may be started


def executable() -> str | None:
    """Where the server is that the wheel carries."""
    return shutil.which("milvus-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def alone(*tests: str) -> subprocess.CompletedProcess[str]:
    """Run these tests in a network and among processes of their own; everything ends with this call."""
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, __file__, *tests]
    return subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)


class Server:
    """A server over one folder, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._wait(_free, "the port of the server before is not free again")  # it would take another one
        command = [str(executable()), "--data", str(self._folder)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._wait(_listens, "the server does not listen")

    def kill(self) -> None:
        """As a power cut would."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(60)
        self._process = None
        self._wait(lambda: not _listens(), "the server does not end")

    def freeze(self) -> None:
        """It listens, and answers nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)  # the wrapper and the server that it started

    def _wait(self, come: Callable[[], bool], else_: str) -> None:
        end = monotonic() + PATIENCE
        while not come():
            assert monotonic() < end, else_
            assert self._process is None or self._process.poll() is None, "the server has ended"
            sleep(0.2)


def _listens() -> bool:
    try:
        socket.create_connection(("127.0.0.1", PORT), 1).close()
    except OSError:
        return False
    return True


def _free() -> bool:
    """Whether a server may listen there: for a minute after one was killed its connections keep the port."""
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", PORT))
        except OSError:
            return False
    return True


def main() -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "", *sys.argv[1:]]
    return subprocess.run(tests, env={**os.environ, INSIDE: "1"}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
