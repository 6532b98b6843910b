"""What the transformer costs for one request: the state after the newest of 50 likings, in numpy, on one core.

    python -m benchmarks.sequence --json benchmarks/results/sequence.json

The width of the layers decides, not what they learned: the weights are those before learning. Goal: 2 ms at width 128.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, write
from shortlist.descent import Descent
from shortlist.models.sasrec import Sasrec, SasrecModel
from shortlist.testing.world import synthetic
from shortlist.types import Ragged

LIKINGS = 50
WIDTHS = (64, 128)


def model(width: int, items: int) -> SasrecModel:
    """Two blocks over a catalogue of so many items."""
    recipe = Sasrec(width=width, blocks=2, heads=2, length=LIKINGS, descent=Descent(epochs=0))
    some = recipe.fit(synthetic().data, seed=0)
    vectors = np.random.default_rng(0).normal(0, 0.02, (items, width)).astype(np.float32)
    return replace(some, item=vectors, known=np.ones(items, np.bool_))


def measure(model: SasrecModel, times: int) -> np.ndarray:
    """(times,) milliseconds, each for a history of its own."""
    chance = np.random.default_rng(1)
    found = np.empty(times)
    ptr, now = np.array([0, LIKINGS], np.int64), np.array([LIKINGS * 60_000_000], np.int64)
    for each in range(times):
        history = Ragged(
            ptr,
            {
                "item": chance.permutation(len(model.item))[:LIKINGS].astype(np.int32),
                "weight": np.ones(LIKINGS, np.float32),
                "time": np.arange(LIKINGS, dtype=np.int64) * 60_000_000,
            },
        )
        start = perf_counter()
        model.states(history, now)
        found[each] = (perf_counter() - start) * 1000
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--times", type=int, default=2000)
    given = options.parse_args()
    rows = []
    for width in WIDTHS:
        learned = model(width, 3416)
        with threadpool_limits(1):
            measure(learned, 50)
            found = measure(learned, given.times)
        note = f"{LIKINGS} likings, 2 blocks, 2 heads, width {width}, one core; {given.times} histories"
        for metric, share in (("p50_ms", 50), ("p99_ms", 99)):
            value = float(np.percentile(found, share))
            print(f"width {width:4} {metric} {value:.3f}")
            rows.append(Row("sasrec", "shortlist", "", "", metric, value, params={"width": width}, note=note))
    if given.json:
        write(given.json, "sequence", "", rows)


if __name__ == "__main__":
    main()
