"""Shortlist on the same terms as its peers: same folder, same requests, a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.worker import SEED, Answer, loop
from shortlist.dataset import Dataset
from shortlist.eval import offline
from shortlist.eval.protocol import Part
from shortlist.models.als import Als
from shortlist.models.ease import Ease
from shortlist.models.itemknn import ItemKnn
from shortlist.models.transitions import Transitions
from shortlist.models.userknn import UserKnn
from shortlist.protocols import Recipe, Source
from shortlist.types import Events, Ragged

RECIPES: Mapping[str, Callable[..., Recipe[Source]]] = {
    "als": Als,
    "ease": Ease,
    "itemknn": ItemKnn,
    "transitions": Transitions,
    "userknn": UserKnn,
}


@dataclass(frozen=True)
class Asked:
    """What the folder of a job holds, as our own types."""

    train: Dataset
    part: Part
    k: int

    @staticmethod
    def read(folder: Path) -> Asked:
        asked, events = np.load(folder / "asked.npz"), np.load(folder / "events.npz")
        users, items = (int(size) for size in asked["size"])
        columns = [events[name] for name in ("user", "item", "kind", "value", "time", "request", "id")]
        train = Dataset.of(Events(*columns), users, items, now=int(asked["now"]))
        history, relevant = (_lists(folder / f"{name}_lists.npz") for name in ("history", "relevant"))
        return Asked(train, Part(asked["user"], asked["time"], history, relevant, asked["known"]), int(asked["k"]))


def _lists(path: Path) -> Ragged:
    columns = dict(np.load(path))
    return Ragged(columns.pop("ptr"), columns)


def source(name: str, params: Mapping[str, Any], train: Dataset) -> Source:
    """`ease-recent` is `ease` whose params have a half-life."""
    return RECIPES[name.removesuffix("-recent")](**params).fit(train, seed=SEED)


def single(name: str) -> Callable[[Asked, Mapping[str, Any]], Answer]:
    """One source, alone."""

    def fit(job: Asked, params: Mapping[str, Any]) -> Answer:
        model = source(name, params, job.train)
        return lambda: offline.ask(model.recall, job.part, job.k)

    return fit


if __name__ == "__main__":
    loop(single(sys.argv[1]), lambda: Asked.read(Path(sys.argv[2])))
