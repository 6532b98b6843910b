"""What the second stage of `python -m benchmarks.quality SET-two-stage` is made of: sources, features, trees.

Sources take the settings that were found for them alone (benchmarks/tuned), or those named here, which nobody searched
for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SEEDS = (0, 1, 2)
SUFFIX = "-two-stage"

STAGES: Mapping[str, Mapping[str, Any]] = {
    "movielens-1m": {
        "sources": {
            "next": "transitions",
            "wide": ("transitions", {"fade": 6.0, "half_life": 4.0, "power": 0.5, "source_power": 0.4, "window": 20}),
            "ease": "ease-recent",
            "als": "als-recent",
            "knn": "itemknn-recent",
            "slist": "slist",
            "plain": "ease",
        },
        "near": ("next", "ease", "knn", "slist", "plain"),
        "last": (1, 2, 5),
        "windows": ("1d", "7d", "30d", "180d"),
        "k": 200,
        "likings": 8,
        "others": 40,
        "trees": {"rate": 0.06, "rows_in_leaf": 100},
    },
    "beauty": {
        "sources": {
            "next": "transitions",
            "wide": ("transitions", {"fade": 6.0, "half_life": 4.0, "power": 0.5, "source_power": 0.4, "window": 20}),
            "knn": "itemknn-recent",
            "als": "als-recent",
        },
        "near": ("next", "wide", "knn"),
        "last": (1, 2, 5),
        "windows": ("7d", "30d", "180d"),
        "k": 150,
        "likings": 1,
        "others": 60,
        "trees": {},
    },
}
"""By set. A source is a model under its name in `spaces.SPACES`, or one with other settings beside the tuned ones."""


def params(name: str, seed: int, tuned: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """What the worker needs to know; `tuned` gives the settings of a model alone."""
    stage = dict(STAGES[name])
    sources = {}
    for source, told in stage.pop("sources").items():
        model, other = (told, {}) if isinstance(told, str) else told
        sources[source] = {"model": model, "params": {**tuned(model), **other}}
    return {**stage, "sources": sources, "seed": seed}
