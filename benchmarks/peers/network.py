"""The child's side of benchmarks.ranking: a network made of given arrays, asked over and over on one thread. Imports
numpy only, no part of Shortlist, so that it runs in any environment.

The folder holds network.npz: `code` (N, C) rows of `table` (T, D) and `number` (N, P) of the candidates, and the arrays
of the network, see `MODELS` of network_torch.py. A request is a line of JSON on standard input, {"times": how often,
"out": file for the probabilities}; the reply {"ms": of each time}.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]
Ask = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (codes (N, C), numbers (N, P)) -> probabilities (N,)


def layers(arrays: Arrays, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights and shifts of the layers `name`, in order."""
    count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in arrays)
    return [(arrays[f"{name}.{n}.weight"], arrays[f"{name}.{n}.shift"]) for n in range(count)]


def serve(build: Callable[[str, Arrays], Ask]) -> None:
    """`python network_LIBRARY.py MODEL FOLDER`: answer requests until standard input ends. What libraries print goes to
    standard error."""
    model, folder = sys.argv[1], Path(sys.argv[2])
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with np.load(folder / "network.npz") as file:
        arrays = dict(file)
    code, number = arrays["code"].astype(np.int64), arrays["number"]
    ask = build(model, arrays)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            for _ in range(20):
                said = ask(code, number)
            ms = []
            for _ in range(request["times"]):
                start = time.perf_counter()
                said = ask(code, number)
                ms.append((time.perf_counter() - start) * 1000)
            np.save(request["out"], said)
            told = {"ms": ms}
        except Exception as error:  # what a library cannot do is a result too
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=reply, flush=True)
