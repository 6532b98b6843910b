"""item2vec beside gensim and Spark ML, seconds and quality: `python -m benchmarks.item2vec --json OUT`.

The anime ratings, one liking of each person held out. Our walks go to a file that both peers learn from, with the same
width, window and epochs, on two cores each; gensim has the same negative samples, Spark ML its hierarchical softmax.
Our seconds hold the graph, the walks and the skip-gram; a peer's the skip-gram alone: it gets the walks for nothing.
The lists of all three are made in the same way, by the cosine with the mean of what a person likes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.peers.process import Answered, PeerFailed, Worker, write_job
from benchmarks.peers.worker import SEED
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import SPLITS
from shortlist.dataset import Dataset
from shortlist.eval import offline
from shortlist.eval.bootstrap import intervals
from shortlist.eval.protocol import Part
from shortlist.models.item2vec import Item2Vec
from shortlist.types import Ragged

OWN, SET, SPLIT = "shortlist", "anime", "published"
KS = (10, 20)
MAIN = "ndcg@10"
METRICS = (MAIN, "recall@10", "recall@20")
CORES = 2
QUICK = 300  # questions, with --quick
GOALS = {"peer:gensim": 2, "peer:spark": 8}  # times as fast


def sides(recipe: Item2Vec) -> dict[str, dict[str, Any]]:
    """What each library calls the same parameters."""
    return {
        OWN: {"walks": recipe.walks, "threads": CORES},
        "peer:gensim": {
            "vector_size": recipe.factors,
            "window": recipe.window,
            "negative": recipe.negatives,
            "ns_exponent": recipe.exponent,
            "epochs": recipe.epochs,
            "alpha": recipe.rate,
            "workers": CORES,
        },
        "peer:spark": {
            "vectorSize": recipe.factors,
            "windowSize": recipe.window,
            "maxIter": recipe.epochs,
            "stepSize": recipe.rate,
        },
    }


def write_walks(folder: Path, train: Dataset, recipe: Item2Vec | None = None) -> float:
    """The walks of `recipe` (its defaults: None) as lines of item rows; seconds of graph and walks, not of writing."""
    liked = train.sequences.where(train.sequences["weight"] > 0)
    start = perf_counter()
    recipe = recipe or Item2Vec()
    walks = recipe.walk(Ragged(liked.ptr, {"item": liked["item"]}), train.n_items, SEED)
    seconds = perf_counter() - start
    np.savetxt(folder / "walks.txt", walks["item"].reshape(-1, recipe.length), fmt="%d")
    return seconds


def run(train: Dataset, part: Part, recipe: Item2Vec, repeats: int, environments: Path) -> list[Row]:
    """Fit in turns; rows of quality and seconds for each side, of differences and ratios for each peer."""
    rows: list[Row] = []
    answers: dict[str, list[Answered]] = {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        folder = write_job(Path(place), train, part, max(KS))
        params = sides(recipe)
        walking = write_walks(folder, train, recipe)
        _row(rows, OWN, "walk_seconds", walking, note=f"graph and walks, {CORES} threads")
        _say(f"graph and walks: {walking:.2f} s")
        workers = {side: stack.enter_context(Worker(side, "item2vec", folder, environments)) for side in params}
        for turn in range(repeats):
            for side in [side for side in params if turn == 0 or side in answers]:
                try:
                    answers.setdefault(side, []).append(workers[side].ask(params[side]))
                except PeerFailed as failed:
                    if side == OWN:
                        raise
                    answers.pop(side, None)
                    _say(f"left out: {failed}")
                    _row(rows, side, "seconds", float("nan"), note=f"failed: {failed}"[:500])
    values = {side: offline.measure(each[0].shown, part, KS)[0] for side, each in answers.items()}
    seconds = {side: [one.seconds for one in each] for side, each in answers.items()}
    best = {side: min(each) for side, each in seconds.items()}
    for side, each in values.items():
        cost = {"seconds": best[side], "peak_mb": answers[side][0].peak_mb, "params": params[side]}
        for metric, found in intervals({name: each[name] for name in METRICS}).items():
            _row(rows, side, metric, found.value, found.low, found.high, **cost)
        _say(f"{side:15} {MAIN} {np.nanmean(each[MAIN]):.4f}, {best[side]:.2f} s")
        if side != OWN:
            gap = intervals({MAIN: values[OWN][MAIN] - each[MAIN]})[MAIN]
            _row(rows, OWN, f"{MAIN}-minus-{side}", gap.value, gap.low, gap.high)
            pairs = np.array(seconds[side]) / np.array(seconds[OWN])
            ratio, note = best[side] / best[OWN], f"best of {len(pairs)}, low and high of the turns"
            _row(rows, side, "ratio", ratio, float(pairs.min()), float(pairs.max()), seconds=best[side], note=note)
            _say(
                f"  {ratio:.2f} of our seconds (goal: {GOALS[side]}),"
                f" ours minus its {MAIN}: {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
            )
    return rows


def _row(
    rows: list[Row], side: str, metric: str, value: float, low: float | None = None, high: float | None = None,
    **more: Any,
) -> None:  # fmt: skip
    rows.append(Row("item2vec", side, SET, SPLIT, metric, value, low, high, **more))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} questions and short walks, once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks/peers", help="where environments are made")
    given = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)  # everybody's own choice
    split = SPLITS[SET][SPLIT]()
    recipe, part, repeats = Item2Vec(threads=CORES), split.test, given.repeats
    if given.quick:
        recipe, part, repeats = replace(recipe, walks=1), part.take(np.arange(QUICK)), 1
    rows = run(split.final, part, recipe, repeats, given.peers)
    if given.json:
        write(given.json, "item2vec", SET, rows)


if __name__ == "__main__":
    main()
