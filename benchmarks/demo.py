"""How long the demo takes to its first list: `python -m benchmarks.demo --json OUT`. Downloads are not counted."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from benchmarks.rows import Row, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--world", choices=("movielens", "generated"), default="movielens")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "shortlist.cli", "demo", "--no-serve", "--json"]
        start = perf_counter()
        done = subprocess.run(
            [*command, "--world", given.world, "--keep", folder], check=True, capture_output=True, text=True
        )
        total = perf_counter() - start
    steps = json.loads(done.stdout)["seconds"]
    download = steps.pop("download", 0.0)
    rows = [Row(step, "shortlist", given.world, "", "seconds", seconds) for step, seconds in steps.items()]
    rows.append(
        Row(
            "demo",
            "shortlist",
            given.world,
            "",
            "seconds",
            total - download,
            note="start of the process to its first lists",
        )
    )
    for row in rows:
        print(f"{row.model:<20} {row.value:7.1f} s")
    if given.json:
        write(given.json, "demo", given.world, rows)


if __name__ == "__main__":
    main()
