"""The one form in which every benchmark writes what it measured."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """One figure. `model` is the algorithm's name, the same for us and for a peer."""

    model: str
    side: str  # shortlist | peer:LIBRARY | published:PAPER
    set: str
    split: str  # leave-last | global | published, "" where nothing is split
    metric: str
    value: float
    low: float | None = None  # 95 % interval
    high: float | None = None
    seconds: float | None = None  # of fitting
    peak_mb: float | None = None  # of fitting, above the loaded data
    params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def write(path: Path, benchmark: str, set_name: str, rows: Sequence[Row]) -> None:
    """Write {"benchmark", "set", "commit", "machine", "date", "rows"} to `path`, whole or not at all."""
    content = {
        "benchmark": benchmark,
        "set": set_name,
        "commit": commit(),
        "machine": machine(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [_plain(asdict(row)) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def commit() -> str:
    """The commit measured, "+" after it when tracked files differ from it, "" outside a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")


def machine() -> str:
    """Processor, cores, memory and versions, without names of hosts or people."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GB, {system}"


def _plain(value: Any) -> Any:
    """What JSON can say: NaN is null."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
