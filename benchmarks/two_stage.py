"""What the second stage of `python -m benchmarks.quality SET-two-stage` is made of: sources, features, trees.

Sources take the settings that were found for them alone (benchmarks/tuned), or those named here, which nobody searched
for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

SEEDS = (0, 1, 2)
SUFFIX = "-two-stage"

WIDE = ("transitions", {"fade": 6.0, "half_life": 4.0, "power": 0.5, "source_power": 0.4, "window": 20})
ORDERED: Mapping[str, Any] = {
    "next": "transitions",
    "wide": WIDE,
    "ease": "ease-recent",
    "als": "als-recent",
    "knn": "itemknn-recent",
    "slist": "slist",
    "plain": "ease",
}

WINDOWS = ("1d", "7d", "30d", "180d")
STAGES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "movielens-1m": {
        "leave-last": {
            "sources": ORDERED,
            "near": ("next", "ease", "knn", "slist", "plain"),
            "windows": WINDOWS,
            "k": 200,
            "learn": {"by": "newest", "likings": 8},
            "others": 80,
            "trees": {"rate": 0.06, "rows_in_leaf": 100},
        },
        "global": {
            "sources": {
                "next": "transitions",
                "wide": WIDE,
                "recent": "ease-recent",
                "als": "als",
                "ease": "ease",
                "knn": "itemknn-recent",
                "users": "userknn",
                "trend": "trend",
            },
            "near": ("next", "recent", "ease", "knn"),
            "windows": WINDOWS,
            "k": 200,
            "learn": {"by": "later", "shares": (0.1, 0.2, 0.35, 0.5), "answers": 20},
            "others": 300,
            "trees": {"trees": 150, "depth": 100, "leaves": 15, "rows_in_leaf": 200},
            "bags": 3,
            "opinions": 1.0,
        },
    },
    "movielens-100k": {
        "leave-last": {
            "sources": ORDERED,
            "near": ("next", "ease", "knn", "slist", "plain"),
            "windows": WINDOWS,
            "k": 200,
            "learn": {"by": "newest", "likings": 8},
            "others": 60,
            "trees": {},
        },
    },
    "beauty": {
        "leave-last": {
            "sources": {
                "next": "transitions",
                "wide": WIDE,
                "knn": "itemknn-recent",
                "als": "als-recent",
                "ease": ("ease-recent", {"half_life": 2.0, "reg": 200.0}),
                "content": ("content", {}),
            },
            "near": ("next", "wide", "knn", "ease", "content"),
            "windows": ("7d", "30d", "180d"),
            "k": 150,
            "learn": {"by": "newest", "likings": 3},
            "others": 60,
            "trees": {"leaves": 15, "rows_in_leaf": 200},
        },
    },
    "anime": {
        "published": {
            "sources": {"als": "als", "ease": "ease", "knn": "itemknn", "users": "userknn"},
            "near": ("ease", "knn"),
            "windows": (),  # its ratings have no times
            "k": 150,
            "learn": {"by": "lot"},
            "others": 60,
            "trees": {},
        },
    },
}
"""By set and split. A source is a model under its name in `spaces.SPACES`, or one with these settings alone."""

LAST = (1, 2, 5)  # likings that candidates are compared with, one number of them after the other


def params(name: str, split: str, seed: int, tuned: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """What the worker needs to know; `tuned` gives the settings of a model alone."""
    stage = dict(STAGES[name][split])
    sources = {}
    for source, told in stage.pop("sources").items():
        model, given = (told, tuned(told)) if isinstance(told, str) else told
        sources[source] = {"model": model, "params": given}
    return {**stage, "last": LAST, "sources": sources, "seed": seed}
