"""How long a start takes: `python -m benchmarks.imports --json OUT`. Best of several, in fresh processes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.rows import Row, write

STARTS = {
    "python": ("-c", "pass"),
    "import shortlist": ("-c", "import shortlist"),
    "shortlist --help": ("-m", "shortlist.cli", "--help"),
}
"""What is started, the empty interpreter as the floor. Goals: import 150 ms, help 300 ms."""


def best(arguments: tuple[str, ...], times: int) -> float:
    """Milliseconds of the quickest of `times` fresh processes."""
    taken = []
    for _ in range(times):
        start = perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        taken.append(perf_counter() - start)
    return 1000 * min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    rows = [Row(name, "shortlist", "", "", "ms", best(arguments, given.times)) for name, arguments in STARTS.items()]
    for row in rows:
        print(f"{row.model:<20} {row.value:7.1f} ms")
    if given.json:
        write(given.json, "imports", "", rows)


if __name__ == "__main__":
    main()
