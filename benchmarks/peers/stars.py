"""The child's side of benchmarks.ratings: fit a library's model on ratings, answer with predictions. Imports numpy
only, no part of Shortlist, so that it runs in any environment.

A request is a line of JSON on standard input, {"params": {...}, "out": file for the predictions}; the reply {"seconds":
of fitting, "answering": of predicting, "peak_mb": ...}. Neither loading nor writing is timed.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEED = 17


@dataclass(frozen=True)
class Facts:
    """What is known of people, or of items: for each row a list of codes; the values of a field share its weight."""

    ptr: np.ndarray  # (R + 1,)
    code: np.ndarray
    share: np.ndarray
    sizes: np.ndarray  # how many codes each field has; those of one field follow one another


@dataclass(frozen=True)
class Job:
    """What is learned from, and what is asked. Rows of people and items are those of the whole set."""

    user: np.ndarray  # (E,)
    item: np.ndarray
    value: np.ndarray
    place: np.ndarray  # (E,) of these ratings among all of the set
    asked_user: np.ndarray  # (N,)
    asked_item: np.ndarray
    asked_place: np.ndarray
    scale: tuple[float, float]
    people: Facts
    items: Facts
    set: str

    @staticmethod
    def read(folder: Path) -> "Job":
        held = arrays(folder / "ratings.npz")
        scale = (float(held.pop("low")), float(held.pop("high")))
        people, items = (Facts(**arrays(folder / f"{name}.npz")) for name in ("people", "items"))
        return Job(**held, scale=scale, people=people, items=items, set=(folder / "set").read_text())


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


Answer = Callable[[], np.ndarray]  # predictions (N,)
Fit = Callable[[Any, str, Mapping[str, Any]], Answer]


def serve(fit: Fit, load: Callable[[Job], Any] = lambda job: job) -> None:
    """`python stars_LIBRARY.py MODEL FOLDER`: answer requests until standard input ends. `load` gives what `fit` takes.
    What libraries print goes to standard error."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = load(Job.read(folder))
    loaded = _peak_mb()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            start = time.perf_counter()
            answer = fit(job, model, request["params"])
            seconds, peak = time.perf_counter() - start, _peak_mb()
            start = time.perf_counter()
            predicted = answer()
            answering = time.perf_counter() - start
            np.save(request["out"], np.asarray(predicted, np.float64))
            told = {"seconds": seconds, "answering": answering, "peak_mb": max(peak - loaded, 0)}
        except Exception as error:  # what a library cannot do is a result too
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=reply, flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
