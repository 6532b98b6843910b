"""Trees grown in rounds: what an interrupted training goes on from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUND = 50  # trees between two checkpoints


def key_of(seed: int, facts: object, *arrays: NDArray[Any]) -> str:
    """A name of one training: what it learns from, how, and its chance."""
    made = hashlib.sha256(repr((seed, facts)).encode())
    for each in arrays:
        made.update(np.ascontiguousarray(each).tobytes())
    return made.hexdigest()


def place(checkpoint: str, key: str) -> Path:
    """Trainings that are not the same have files of their own beside each other."""
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}.{key[:16]}{path.suffix}")


def grown(
    lightgbm: Any,
    params: Mapping[str, Any],
    parts: Sequence[Any],
    trees: int,
    patience: int,
    path: Path,
    key: str,
    tell: Callable[[Any], None],
) -> tuple[Any, int]:
    """A booster of at most `trees` trees, learned from `parts[0]`, and how many of them to keep: those up to the best
    score on `parts[1]`, if there is such a part, after which `patience` trees were no better.

    Every round draws from a seed of its own and starts from what the file says, whether or not it was interrupted: the
    trees are the same.
    """
    rising = params["metric"] == "ndcg"
    text, held = _read(path, key)
    booster = lightgbm.Booster(model_str=text) if text else None
    while True:
        size = booster.num_trees() if booster else 0
        best, stopped = _best(held, patience, rising)
        if size >= trees or stopped:
            path.unlink(missing_ok=True)
            return booster, best + 1 if held else size
        said: dict[str, dict[str, list[float]]] = {}
        after = lightgbm.train(
            {**params, "seed": params["seed"] + size},
            parts[0],
            min(ROUND, trees - size),
            valid_sets=list(parts[1:]) or None,
            init_model=booster,
            callbacks=[tell, lightgbm.record_evaluation(said)],
        )
        held += [score for scores in said.values() for each in scores.values() for score in each]
        text = after.model_to_string()
        _write(path, {"key": key, "held": held, "trees": text})
        booster = lightgbm.Booster(model_str=text)
        if booster.num_trees() == size:  # no leaf could be cut any more
            trees = size


def _best(held: Sequence[float], patience: int, rising: bool) -> tuple[int, bool]:
    """The place of the best score, and whether `patience` others followed it."""
    best = 0
    for at, score in enumerate(held):
        if score != held[best] and (score > held[best]) == rising:
            best = at
        elif at - best >= patience:
            return best, True
    return best, False


def _write(path: Path, said: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    draft.parent.mkdir(parents=True, exist_ok=True)
    with draft.open("w", encoding="utf-8") as file:
        json.dump(said, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _read(path: Path, key: str) -> tuple[str, list[float]]:
    """The trees and the scores of a whole checkpoint of the same training, otherwise none."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return (str(said["trees"]), [float(each) for each in said["held"]]) if said["key"] == key else ("", [])
    except (OSError, ValueError, KeyError, TypeError):  # none, or cut short: as if there were none
        return "", []
