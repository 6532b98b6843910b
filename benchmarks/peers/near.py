"""The child's side of benchmarks.ann: build an index of vectors once, then search it, one question at a time. Imports
numpy only, no part of Shortlist, so that it runs in any environment.

A request is a line of JSON on standard input. {"build": {}} is answered by {"seconds", "mb": held by the index with its
own copy of the vectors}; {"breadth": how far to look, "allowed": file of a mask or "", "asked": how many questions,
"out": file for the rows} by {"ms": of each question}.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

K = 100
LINKS, EF_BUILD = 16, 128  # of every graph
WARM = 20  # questions that are not timed

Search = Callable[[np.ndarray], np.ndarray]  # (1, D) -> (M,) rows, best first, -1 = nothing


class Built(Protocol):
    """An index that can be asked, on one thread."""

    def searcher(self, breadth: int, allowed: np.ndarray | None) -> Search: ...


def serve(build: Callable[[str, np.ndarray, Path], Built]) -> None:
    """`python near_LIBRARY.py KIND FOLDER`: answer requests until standard input ends. What libraries print goes to
    standard error."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    vectors, asked = np.load(folder / "vectors.npy"), np.load(folder / "asked.npy")
    built: Built | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if built is None:
                before, start = _held_mb(), time.perf_counter()
                built = build(kind, vectors, folder)
                said = {"seconds": time.perf_counter() - start, "mb": _held_mb() - before}
            else:
                mask = np.load(request["allowed"]) if request["allowed"] else None
                search = built.searcher(request["breadth"], mask)
                rows, ms = _ask(search, asked[: request["asked"]])
                np.save(request["out"], rows)
                said = {"ms": ms}
        except Exception as error:  # what a library cannot do is a result too
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), file=reply, flush=True)


def _ask(search: Search, asked: np.ndarray) -> tuple[np.ndarray, list[float]]:
    for question in asked[:WARM]:
        search(question[None])
    rows, ms = np.full((len(asked), K), -1, np.int64), []
    for at in range(len(asked)):
        question = asked[at : at + 1]
        start = time.perf_counter()
        found = search(question)
        ms.append((time.perf_counter() - start) * 1000)
        rows[at, : len(found)] = found
    return rows, ms


def _held_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
