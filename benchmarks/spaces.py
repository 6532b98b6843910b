"""What may be tuned of each algorithm in each library, and the one search that tunes them all.

Values are in order, so that a neighbour in the list is a neighbour in meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

Space = Mapping[str, Sequence[Any]]
Params = dict[str, Any]

FACTORS = (32, 64, 128)
NEIGHBOURS = (20, 50, 100, 200, 500)
RIDGE = (25, 50, 100, 200, 400, 800, 1600, 3200)
PAIR = (0.01, 0.03, 0.1, 0.3, 1.0)  # weight of an unobserved pair, a liking weighs 1
PAIRS = (0.3, 1.0, 3.0, 10.0, 30.0)  # the same over all pairs together, all likings weigh 1
ALPHA = (1.0, 3.0, 10.0, 30.0, 100.0)  # weight of an observed pair
HALF_LIFE = (0.7, 1.0, 2.0, 4.0, 8.0, 16.0)

_IMPLICIT_ALS: Space = {"factors": FACTORS, "regularization": (0.1, 1.0, 3.0, 10.0, 30.0, 100.0), "alpha": ALPHA}
_IMPLICIT_KNN: Space = {
    "weighting": ("plain", "cosine", "tfidf", "bm25"),
    "neighbours": NEIGHBOURS,
    "k1": (0.5, 1.2, 10.0, 100.0),
    "b": (0.2, 0.5, 0.75),
}
_ALS: Space = {
    "factors": FACTORS,
    "reg": (0.0003, 0.001, 0.003, 0.01, 0.03),
    "unobserved": PAIRS,
    "exponent": (0.5, 1.0),
    "iterations": (16,),  # as many as the peers make
}
_PAIRWISE: Space = {
    "factors": FACTORS,
    "rate": (0.02, 0.05, 0.1),
    "reg": (0.003, 0.01, 0.03, 0.08, 0.15),
    "epochs": (15, 30, 60, 120),
    "popularity": (0.0, 0.5, 1.0),
    "threads": (0,),  # as the peer
}
_WARP: Space = {**_PAIRWISE, "epochs": (10, 20, 40), "trials": (5, 10, 30)}
_KNN: Space = {
    "weighting": ("cosine", "tfidf", "bm25"),
    "neighbours": NEIGHBOURS,
    "shrink": (0.0, 10.0, 100.0),
    "asymmetry": (0.3, 0.5, 0.7),
}

_EDLAE: Space = {"drop": (0.1, 0.2, 0.3, 0.5, 0.7), "reg": RIDGE}
_DAN: Space = {
    "reg": (0.1, 0.3, 1.0, 3.0, 10.0),
    "item_power": (0.0, 0.1, 0.2, 0.3, 0.5),
    "user_power": (0.0, 0.2, 0.4, 0.7),
}
_SLIM: Space = {"l1": (0.3, 1.0, 3.0, 10.0, 30.0), "l2": (10, 30, 100, 300, 1000)}
_BSPM: Space = {
    "factors": (32, 64, 128, 256, 448),
    "strength": (0.1, 0.2, 0.3, 0.6, 1.0),
    "time": (0.5, 1.0, 1.5, 2.0, 2.5),
}

SPACES: Mapping[str, Mapping[str, Space]] = {
    "als": {
        "shortlist": _ALS,
        "peer:implicit": _IMPLICIT_ALS,
        "peer:irspack": {
            "n_components": FACTORS,
            "reg": (0.0003, 0.001, 0.003, 0.01, 0.03),
            "alpha0": PAIR,
            "nu": (0.5, 1.0),
        },
        "peer:rectools": _IMPLICIT_ALS,
        "peer:lenskit": {
            "embedding_size": FACTORS,
            "regularization": (0.1, 1.0, 3.0, 10.0, 30.0, 100.0),
            "weight": ALPHA,
            "epochs": (15,),
        },
    },
    "ease": {
        "shortlist": {"reg": RIDGE},
        "peer:irspack": {"reg": RIDGE},
        "peer:rectools": {"regularization": RIDGE},
        "peer:lenskit": {"regularization": RIDGE},
    },
    "itemknn": {
        "shortlist": _KNN,
        "peer:implicit": _IMPLICIT_KNN,
        "peer:irspack": {
            "feature_weighting": ("NONE", "TF_IDF", "BM_25"),
            "top_k": NEIGHBOURS,
            "shrinkage": (0.0, 10.0, 100.0),
            "bm25_k1": (0.5, 1.2, 10.0, 100.0),
            "bm25_b": (0.2, 0.5, 0.75),
        },
        "peer:rectools": _IMPLICIT_KNN,
        "peer:lenskit": {"max_nbrs": NEIGHBOURS, "min_nbrs": (1, 2), "save_nbrs": (*NEIGHBOURS, 1000)},
    },
    "userknn": {
        "shortlist": {"neighbours": NEIGHBOURS, "weighting": ("cosine", "tfidf", "bm25")},
        "peer:irspack": {
            "feature_weighting": ("NONE", "TF_IDF", "BM_25"),
            "top_k": NEIGHBOURS,
            "shrinkage": (0.0, 10.0, 100.0),
            "alpha": (0.3, 0.5, 0.7),
        },
        "peer:lenskit": {"max_nbrs": NEIGHBOURS, "min_nbrs": (1, 2)},
    },
    "bpr": {
        "shortlist": _PAIRWISE,
        "peer:implicit": {
            "factors": FACTORS,
            "learning_rate": (0.005, 0.01, 0.02, 0.05, 0.1),
            "regularization": (0.003, 0.01, 0.03, 0.08, 0.15),
            "iterations": (30, 60, 120, 240),
        },
    },
    "warp": {"shortlist": _WARP},
    "edlae": {"shortlist": _EDLAE},
    "dan": {"shortlist": _DAN},
    "slim": {"shortlist": _SLIM},
    "rp3beta": {
        "shortlist": {"neighbours": NEIGHBOURS, "alpha": (0.5, 0.7, 1.0, 1.3), "beta": (0.2, 0.4, 0.6, 0.8)},
    },
    "turbocf": {
        "shortlist": {
            "alpha": (0.3, 0.4, 0.5, 0.6, 0.7),
            "power": (0.5, 0.6, 0.8, 1.0, 1.3, 1.6),
            "neighbours": (*NEIGHBOURS, 1000),
        }
    },
    "gfcf": {"shortlist": {"factors": _BSPM["factors"], "strength": _BSPM["strength"]}},
    "bspm": {"shortlist": _BSPM},
    "ease-recent": {"shortlist": {"reg": RIDGE, "half_life": HALF_LIFE}},
    "edlae-recent": {"shortlist": {**_EDLAE, "half_life": HALF_LIFE}},
    "dan-recent": {"shortlist": {**_DAN, "half_life": HALF_LIFE}},
    "slim-recent": {"shortlist": {**_SLIM, "half_life": HALF_LIFE}},
    "bspm-recent": {"shortlist": {**_BSPM, "half_life": HALF_LIFE}},
    "bpr-recent": {"shortlist": {**_PAIRWISE, "half_life": HALF_LIFE}},
    "warp-recent": {"shortlist": {**_WARP, "half_life": HALF_LIFE}},
    "als-recent": {"shortlist": {**_ALS, "half_life": HALF_LIFE}},
    "itemknn-recent": {"shortlist": {**_KNN, "half_life": HALF_LIFE}},
    "slist": {
        "shortlist": {
            "reg": (10, 30, 100, 300, 1000),
            "past": (0.7, 1.0, 2.0, 4.0),
            "future": (0.3, 0.5, 1.0, 2.0),
            "whole": (0.0, 0.03, 0.1, 0.3, 0.6),
            "days": (0.0, 30.0, 90.0, 365.0),
            "half_life": (0.7, 1.0, 2.0, 4.0),
        }
    },
    "transitions": {
        "shortlist": {
            "window": (5, 10, 20),
            "fade": (1.0, 1.5, 3.0, 6.0),
            "half_life": (1.0, 1.5, 2.0, 3.0, 5.0),
            "power": (0.2, 0.3, 0.4, 0.6, 1.0),
            "source_power": (0.1, 0.2, 0.4, 0.7),
            "target_power": (0.0, 0.08, 0.2, 0.4),
        }
    },
}


class Trial(NamedTuple):
    params: Params
    value: float  # on validation


def search(
    space: Space, trials: int, value: Callable[[Params], float], seed: int = 17, seconds: float = float("inf")
) -> list[Trial]:
    """Try `trials` different settings: half drawn at random, then one step from the best in one direction at a time.

    All of the space when it is no larger. The same for every library, so nobody gets more. No trial begins after
    `seconds`, the first excepted.
    """
    chance = np.random.default_rng(seed)
    stop = monotonic() + seconds
    sizes = [len(values) for values in space.values()]
    tried: dict[tuple[int, ...], float] = {}

    def attempt(point: tuple[int, ...]) -> None:
        tried[point] = value(settings(point))

    def settings(point: tuple[int, ...]) -> Params:
        return {name: space[name][place] for name, place in zip(space, point, strict=True)}

    total = int(np.prod(sizes))
    drawn = chance.permutation(total) if total <= 1_000_000 else chance.integers(0, total, trials)
    for number in drawn[: trials if total <= trials else (trials + 1) // 2]:
        if tried and monotonic() > stop:
            break
        attempt(tuple(int(place) for place in np.unravel_index(int(number), sizes)))
    while len(tried) < min(trials, total) and monotonic() <= stop:
        for best in sorted(tried, key=lambda point: -tried[point]):
            steps = [
                (*best[:axis], best[axis] + step, *best[axis + 1 :])
                for axis in range(len(sizes))
                for step in (-1, 1)
                if 0 <= best[axis] + step < sizes[axis]
            ]
            fresh = [point for point in steps if point not in tried]
            if fresh:
                attempt(fresh[int(chance.integers(len(fresh)))])
                break
    return [Trial(settings(point), found) for point, found in sorted(tried.items(), key=lambda each: -each[1])]
