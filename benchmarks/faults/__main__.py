"""`python -m benchmarks.faults`: the long runs, their figures as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.faults import defects, disk, fuzz, kills, loop, steps, workers, world
from benchmarks.faults.processes import ROOT, Nursery

PARTS = ("kills", "steps", "disk", "workers", "fuzz", "loop", "defects")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="lives of a server in the kill loop")
    parser.add_argument("--workers", type=int, default=20, help="workers that are killed one after the other")
    parser.add_argument("--trainings", type=int, default=10, help="trainings that are killed at any moment")
    parser.add_argument("--fuzz", type=float, default=5.0, metavar="SECONDS", help="for each parser")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path, help="write the figures there, beside those of parts that did not run")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    if given.json and given.json.exists():
        results = json.loads(given.json.read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="shortlist-faults-") as name, Nursery() as nursery:
        folder = Path(name)
        start = world.make(nursery, folder / "world")
        for part in given.only:
            print(f"{part}: seed {given.seed}", file=sys.stderr)
            begun, about = time.monotonic(), stamp()

            def keep(found: dict[str, Any], part: str = part, begun: float = begun, about: Any = about) -> None:
                seconds = round(time.monotonic() - begun, 1)
                results[part] = {"seed": given.seed, **about, **found, "seconds": seconds}
                if given.json:
                    given.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")

            keep(run(part, nursery, start, folder / part, given, keep))
            print(json.dumps({part: results[part]}, indent=1))
    if any(results[part].get("wrong") for part in given.only):
        sys.exit(1)


def run(
    part: str,
    nursery: Nursery,
    start: Path,
    folder: Path,
    given: argparse.Namespace,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """One part; its figures, with what is wrong under "wrong". `keep` is told what is known of a long one so far."""
    folder.mkdir()

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    if part == "kills":
        lives = kills.loop(
            nursery, start, folder, given.rounds, given.seed, say=say, keep=lambda found: keep(found.result())
        )
        return lives.result()
    if part == "steps":
        return steps.all_of(nursery, start, folder, given.trainings, given.seed)
    if part == "disk":
        return disk.all_of(nursery, start, folder)
    if part == "workers":
        return workers.killed(nursery, start, folder, given.workers, say)
    if part == "fuzz":
        return fuzz.all_of(given.fuzz, given.seed, say)
    if part == "loop":
        return loop.all_of(folder, given.seed, say)
    return defects.all_of(nursery, start, folder, given.seed, say)


def stamp() -> dict[str, str]:
    """When, and of which commit."""
    head = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": head.stdout.strip(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
