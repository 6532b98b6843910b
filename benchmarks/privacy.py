"""What erasing a person and a backup cost: `python -m benchmarks.privacy --json OUT`.

A generated log (5 million events of 300,000 people, in segments of a million) behind an installation without models.
Erased are one person and then a hundred at once, each from asking to done; the id must then be in no file. Backup and
restore are to the same disk, the backup with every byte read back, the restore with every byte checked and copied.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.rows import ROOT, Row, write
from shortlist import config, ops
from shortlist.batch import backup
from shortlist.runtime import Runtime
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from shortlist.types import Events

EVENTS, USERS, ITEMS, PIECE = 5_000_000, 300_000, 20_000, 1_000_000
SET = f"generated, {EVENTS:,} events of {USERS:,} people"


def main(out: Path | None) -> None:
    rows = []
    with tempfile.TemporaryDirectory(dir=ROOT / ".benchmarks") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        settings = config.parse({}, home=home)
        with Runtime.open(settings) as runtime:
            fill(runtime)
            privacy = Service(runtime, Metrics()).privacy
            for people in (["person-7"], [f"person-{n}" for n in range(1_000, 1_100)]):
                start = perf_counter()
                for id in people:
                    privacy.erase(id)
                masked = perf_counter() - start
                privacy.work()
                case = f"{len(people)} at once"
                rows.append(Row("erasure", "shortlist", SET, "", "s until unknown", masked, note=case))
                rows.append(Row("erasure", "shortlist", SET, "", "s until done", perf_counter() - start, note=case))
                assert not traces(home, people[0]), people[0]
        start = perf_counter()
        made = backup.backup(settings, Path(folder) / "backup", created="2026-01-01T00:00:00+00:00")
        backup.verify(Path(folder) / "backup")
        size = f"{made.bytes / 1e6:,.0f} MB"
        per_minute = made.bytes / 1e9 * 60
        rows.append(Row("backup", "shortlist", SET, "", "GB/min", per_minute / (perf_counter() - start), note=size))
        start = perf_counter()
        backup.restore(Path(folder) / "backup", Path(folder) / "again")
        rows.append(Row("restore", "shortlist", SET, "", "GB/min", per_minute / (perf_counter() - start), note=size))
    for each in rows:
        print(f"{each.model:<10} {each.metric:<16} {each.value:8.2f}  {each.note}")
    if out is not None:
        write(out, "privacy", SET, rows)


def traces(home: Path, id: str) -> list[Path]:
    """Files in which the id can be read, not as the beginning of a longer one."""
    word = re.compile(rb"(?<![\w-])" + id.encode() + rb"(?!\d)")
    return [path for path in home.rglob("*") if path.is_file() and word.search(path.read_bytes())]


def fill(runtime: Runtime) -> None:
    """Everybody has a fact and a history, drawn with a fixed seed."""
    rng = np.random.default_rng(7)
    users = runtime.catalog.rows("user", [f"person-{n}" for n in range(USERS)], create=True)
    runtime.catalog.rows("item", [f"item-{n}" for n in range(ITEMS)], create=True)
    runtime.catalog.put("user", users, {"age": rng.integers(18, 90, USERS).astype(np.float64)})
    for start in range(0, EVENTS, PIECE):
        user, item = (rng.integers(0, size, PIECE).astype(np.int32) for size in (USERS, ITEMS))
        kind, value = np.ones(PIECE, np.uint8), np.ones(PIECE, np.float32)
        time = np.arange(start, start + PIECE) * 1_000_000 + 1_600_000_000_000_000
        ids = ops.event_ids(user, item, kind, value, time)
        runtime.ingest(Events(user, item, kind, value, time, np.zeros(PIECE, np.uint64), ids))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    main(parser.parse_args().json)
