"""Whether a Parquet file can be read to its end, tried in a process of its own.

A few damaged bytes can make the decoder ask for more memory than there is, which ends the process that does: the one
that is tried, instead of a server or a load that is half done. The process is started at the first file and stays.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import polars as pl

ROWS = 200_000  # decoded at a time


class Probe:
    """One process that decodes what it is told to, and is started again when that was its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def problem(self, path: Path) -> str:
        """Why the file cannot be read to its end; "" when it can."""
        with self._lock:
            if self._child is None:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "shortlist.data.probe"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            assert self._child.stdin is not None
            assert self._child.stdout is not None
            said = ""
            with suppress(BrokenPipeError):
                self._child.stdin.write(f"{str(path.absolute())!r}\n")
                self._child.stdin.flush()
                said = self._child.stdout.readline()
            if not said:
                self._end()
                return "it makes the decoder fail, as damaged files do"
            return said.strip()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._child is not None:
            self._child.communicate()
            self._child = None


@cache
def probe() -> Probe:
    """The one of this process."""
    made = Probe()
    atexit.register(made.close)
    return made


def _decode(path: str) -> str:
    try:
        table = pl.scan_parquet(path)
        for start in range(0, table.select(pl.len()).collect().item(), ROWS):
            table.slice(start, ROWS).collect()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        return " ".join(f"{error}".split()) or type(error).__name__
    return ""


if __name__ == "__main__":
    import ast

    for line in sys.stdin:
        sys.stdout.write(f"{_decode(ast.literal_eval(line))}\n")
        sys.stdout.flush()
