"""The child's side of benchmarks.ctr: fit a library's ranker on rows with labels, answer with probabilities. Imports
numpy only, no part of Shortlist, so that it runs in any environment.

A request is a line of JSON on standard input, {"params": {...}, "out": file for the probabilities of the validation and
then the test rows}; the reply {"seconds": of fitting, "answering": of both, "peak_mb": ..., "epochs": ...}.
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
EPOCHS, PATIENCE, BATCH, RATE = 15, 3, 1024, 0.001  # of everybody; learning stops by the log-loss of validation rows
WIDTH, CROSSES, LAYERS = 16, 3, (128, 128, 128)


@dataclass(frozen=True)
class Rows:
    """Columns of codes (N,), 0 = no value, or lists of codes (N, L), filled up with 0 in front; labels 0 or 1."""

    columns: Mapping[str, np.ndarray]
    label: np.ndarray  # (N,)

    def take(self, rows: slice) -> "Rows":
        return Rows({name: column[rows] for name, column in self.columns.items()}, self.label[rows])


@dataclass(frozen=True)
class Job:
    """What is learned from, when to stop, and what is asked."""

    train: Rows
    valid: Rows
    test: Rows
    sizes: Mapping[str, int]  # highest code + 1 of each column
    past: str  # the list of what the person took before, for models that read one; "" = there is none
    item: str  # the column whose codes `past` holds

    @staticmethod
    def read(folder: Path, model: str) -> "Job":
        facts = json.loads((folder / "facts.json").read_text())
        left_out = {facts["past"]} - ({""} if model != "din" else {facts["past"]})
        parts = []
        for name in ("train", "valid", "test"):
            with np.load(folder / f"{name}.npz") as file:
                held = {key: file[key] for key in file.files if key not in left_out}
            parts.append(Rows({key: each for key, each in held.items() if key != "label"}, held["label"]))
        return Job(*parts, facts["sizes"], facts["past"], facts["item"])


Score = Callable[[Rows], np.ndarray]  # probabilities (N,)
Fit = Callable[[Job, str, Mapping[str, Any]], tuple[Score, int]]  # what answers, and after how many epochs


def log_loss(probability: np.ndarray, label: np.ndarray) -> float:
    inside = np.clip(probability.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(label * np.log(inside) + (1 - label) * np.log1p(-inside)))


def serve(fit: Fit) -> None:
    """`python clicks_LIBRARY.py MODEL FOLDER`: answer requests until standard input ends. What libraries print goes to
    standard error."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    job = Job.read(folder, model)
    loaded = _peak_mb()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            start = time.perf_counter()
            score, epochs = fit(job, model, request["params"])
            seconds, peak = time.perf_counter() - start, _peak_mb()
            start = time.perf_counter()
            said = np.concatenate([score(job.valid), score(job.test)])
            answering = time.perf_counter() - start
            np.save(request["out"], said.astype(np.float64))
            told = {"seconds": seconds, "answering": answering, "peak_mb": max(peak - loaded, 0), "epochs": epochs}
        except Exception as error:  # what a library cannot do is a result too
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=reply, flush=True)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
