"""The tiny installation that every run begins with: made once by the command line, copied for each."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.faults.processes import Nursery

CONFIGURATION = """
[events]
unknown_items = "hold"
[pipelines.home]
limit = 10
[pipelines.home.sources.popular]
use = "recall.popular:Popular"
k = 40
[pipelines.home.sources.fresh]
use = "recall.fresh:Fresh"
k = 10
[pipelines.home.filters.seen]
use = "filters.seen:Seen"
"""
ITEMS, EVENTS = 40, 120  # items i0 ..., users u0 ... u11


def make(nursery: Nursery, folder: Path) -> Path:
    """`folder` with a configuration, a few events and items, and a published release."""
    folder.mkdir(parents=True)
    (folder / "shortlist.toml").write_text(CONFIGURATION)
    items = "".join(f"i{n},Item {n},0\n" for n in range(ITEMS))
    (folder / "items.csv").write_text("item,title,version\n" + items)
    events = "".join(f"u{n % 12},i{n * 7 % ITEMS},click,{1_600_000_000 + n}\n" for n in range(EVENTS))
    (folder / "events.csv").write_text("user,item,kind,time\n" + events)
    for command in (("ingest", "items.csv", "--kind", "items"), ("ingest", "events.csv"), ("train", "--publish")):
        code, said = nursery.run(*command, "--json", home=folder)
        if code:
            raise RuntimeError(f"shortlist {' '.join(command)} ended with {code}: {said}")
    return folder


def copy(world: Path, to: Path) -> Path:
    """Another installation with the same contents."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(world, to)
    return to
