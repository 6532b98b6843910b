"""Runs a Milvus server of its own and a pytest beside it: to be started by `alone`, which gives both a network of their
own, because the server listens on every address and leaves children behind when it is told to stop."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, sleep

PORT = 19530
PATIENCE = 120  # seconds until it listens


def executable() -> str | None:
    """Where the server is that the wheel `milvus` carries."""
    return shutil.which("milvus-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))


def alone(*tests: str) -> subprocess.CompletedProcess[str]:
    """Run these tests beside a server; everything ends with this call."""
    command = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, __file__, *tests]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def main() -> int:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [str(executable()), "--data", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", PORT), 1).close()
                break
            except OSError:
                if monotonic() > end or server.poll() is not None:
                    print("the server does not listen")
                    return 1
                sleep(0.2)
        environment = {**os.environ, "SHORTLIST_TEST_MILVUS": f"127.0.0.1:{PORT}"}
        tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "", *sys.argv[1:]]
        return subprocess.run(tests, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
