"""The child's side: fit a library's models and answer with lists. Imports numpy and scipy only, no part of Shortlist,
so that it runs in any environment.

A request is a line of JSON on standard input, {"params": {...}, "out": "shown.npy"}; the reply a line on standard
output: {"seconds": of fitting, "answering": seconds of answering every question, "peak_mb": of the process while
fitting, above the loaded data}, or {"error": "..."}. Neither loading the data nor writing the lists is timed.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

BLOCK = 512  # questions scored at once
SEED = 17


@dataclass(frozen=True)
class Job:
    """What is learned from, and what is asked."""

    train: csr_matrix  # (U, I) float32, 1 where a person liked an item
    user: np.ndarray  # (B,) rows of the people who ask
    history: csr_matrix  # (B, I) what they like by then; may hold more than their row of `train`
    seen: csr_matrix  # (B, I) never to be shown to them
    known: np.ndarray  # (I,) true = may be shown
    k: int
    folder: Path

    @staticmethod
    def read(folder: Path) -> "Job":
        def matrix(name: str) -> csr_matrix:
            parts = arrays(folder / f"{name}.npz")
            return csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=tuple(parts["shape"]))

        asked = arrays(folder / "asked.npz")
        matrices = (matrix("train"), asked["user"], matrix("history"), matrix("seen"))
        return Job(*matrices, asked["known"], int(asked["k"]), folder)

    def blocks(self) -> Iterator[np.ndarray]:
        """Positions of the questions, in blocks."""
        for start in range(0, len(self.user), BLOCK):
            yield np.arange(start, min(start + BLOCK, len(self.user)))

    def best(self, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(B, k) the best items by `score`, which gives (b, I) numbers for the questions at the positions asked.

        Ties by item row, NaN last, nothing that was seen; -1 where no item is left. Where a library has lists of its
        own, this is no slower; a library that is quicker makes its own.
        """
        return np.concatenate([self._best(np.array(score(block), np.float32), block) for block in self.blocks()])

    def _best(self, score: np.ndarray, block: np.ndarray) -> np.ndarray:
        score[np.isnan(score)] = -np.inf
        score[:, ~self.known] = -np.inf
        seen = self.seen[block]
        score[np.repeat(np.arange(len(block)), np.diff(seen.indptr)), seen.indices] = -np.inf
        place = -min(self.k, score.shape[1])
        cut = np.partition(score, place, axis=1)[:, place, None]
        shown = np.full((len(block), self.k), -1, np.int32)
        for row, mine in enumerate(score):
            above = np.flatnonzero((mine >= cut[row]) & (mine > -np.inf))
            above = above[np.argsort(-mine[above], kind="stable")][: self.k]
            shown[row, : len(above)] = above
        return shown


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file."""
    with np.load(path) as file:
        return dict(file)


@cache
def vectors(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the people who ask (B, D) and of all items (I, D); read once: later requests time no reading."""
    parts = arrays(Path(path))
    return parts["user"], parts["item"]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (R, D) of length 1; zeros stay zeros."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def mean_of_liked(job: Job, item: np.ndarray) -> np.ndarray:
    """The lists of all by the cosine of each item with the mean of what a person likes; `item` (I, D) of length 1."""
    said = item.any(axis=1)

    def score(block: np.ndarray) -> np.ndarray:
        return np.where(said, unit(job.history[block] @ item) @ item.T, np.nan)

    return job.best(score)


Answer = Callable[[], np.ndarray]
Fit = Callable[
    [Any, Mapping[str, Any]], Answer
]  # of what was loaded, with settings; returns what answers the questions


def serve(models: Mapping[str, Fit], read: Callable[[Path], Any] = Job.read) -> None:
    """`python with_LIBRARY.py MODEL FOLDER`: answer requests until standard input ends. `read` loads what the fits of a
    library take: the job, or the job in the library's own form."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    loop(models[model], lambda: read(folder))


def loop(fit: Fit, load: Callable[[], Any]) -> None:
    """Load once, then fit and answer as asked. What libraries print goes to standard error."""
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = load()
    loaded = _peak_mb()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            start = time.perf_counter()
            answer = fit(job, request["params"])
            seconds, peak = time.perf_counter() - start, _peak_mb()
            start = time.perf_counter()
            shown = answer()
            answering = time.perf_counter() - start
            np.save(request["out"], shown.astype(np.int32))
            said = {"seconds": seconds, "answering": answering, "peak_mb": max(peak - loaded, 0)}
        except Exception as error:  # a setting that a library cannot fit is a result too
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=reply, flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
