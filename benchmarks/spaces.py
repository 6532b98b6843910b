"""What may be tuned of each algorithm in each library, and the one search that tunes them all.

Ours is what `shortlist tune` searches: batch/spaces.py. Values are in order, so that a neighbour in the list is a
neighbour in meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from shortlist.batch import spaces
from shortlist.batch.spaces import FACTORS, HALF_LIFE, NEIGHBOURS, RIDGE, Space

Params = dict[str, Any]

PAIR = (0.01, 0.03, 0.1, 0.3, 1.0)  # weight of an unobserved pair, a liking weighs 1
ALPHA = (1.0, 3.0, 10.0, 30.0, 100.0)  # weight of an observed pair

_IMPLICIT_ALS: Space = {"factors": FACTORS, "regularization": (0.1, 1.0, 3.0, 10.0, 30.0, 100.0), "alpha": ALPHA}
_IMPLICIT_KNN: Space = {
    "weighting": ("plain", "cosine", "tfidf", "bm25"),
    "neighbours": NEIGHBOURS,
    "k1": (0.5, 1.2, 10.0, 100.0),
    "b": (0.2, 0.5, 0.75),
}


def _own(use: str, **fixed: Any) -> Space:
    """Our space without the recency of histories, unless the recipe cannot do without; `fixed` is not searched."""
    space = spaces.SPACES[use]
    kept = {name: values for name, values in space.items() if name != "half_life" or 0.0 not in values}
    return {**kept, **{name: (value,) for name, value in fixed.items()}}


_ALS = _own("models.als:Als", iterations=16)  # as many as the peers make
_BPR = _own("models.bpr:Bpr", threads=0)  # as the peer
_WARP = _own("models.warp:Warp", threads=0)
_EASE = _own("models.ease:Ease")
_SASREC: Space = {  # epochs are those until validation rose no more; one thread, so that it repeats exactly
    "length": (200,),
    "negatives": (1000,),
    "descent.epochs": (38,),
    "descent.held": (0,),
    "descent.batch": (64,),
    "descent.average": (0.998,),
    "descent.precision": ("bfloat16",),
    "descent.threads": (1,),
}
_ITEM2VEC = _own("models.item2vec:Item2Vec", pairs="sampled", length=10, threads=2)  # walks as those of the peer
_KNN = _own("models.itemknn:ItemKnn")
_EDLAE = _own("models.edlae:Edlae")
_DAN = _own("models.dan:Dan")
_SLIM = _own("models.slim:Slim")
_BSPM = _own("models.bspm:Bspm", time=2.5, user_power=0.5, factors=1024)  # time and power are the paper's
_BSPM_NEAR: Space = {**_BSPM, "strength": (0.2, 0.4), "rolloff": (0.3, 0.6), "item_power": (0.05, 0.1)}
"""About what led for 1,500 people of Gowalla's validation: a fit there takes a minute, the whole space an hour."""

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
        "shortlist": _EASE,
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
        "shortlist": _own("models.userknn:UserKnn"),
        "peer:irspack": {
            "feature_weighting": ("NONE", "TF_IDF", "BM_25"),
            "top_k": NEIGHBOURS,
            "shrinkage": (0.0, 10.0, 100.0),
            "alpha": (0.3, 0.5, 0.7),
        },
        "peer:lenskit": {"max_nbrs": NEIGHBOURS, "min_nbrs": (1, 2)},
    },
    "bpr": {
        "shortlist": _BPR,
        "peer:implicit": {
            "factors": FACTORS,
            "learning_rate": (0.005, 0.01, 0.02, 0.05, 0.1),
            "regularization": (0.003, 0.01, 0.03, 0.08, 0.15),
            "iterations": (30, 60, 120, 240),
        },
    },
    "warp": {"shortlist": _WARP},
    "item2vec": {
        "shortlist": _ITEM2VEC,
        "peer:gensim": {  # on the same walks
            "vector_size": _ITEM2VEC["factors"],
            "window": _ITEM2VEC["window"],
            "negative": _ITEM2VEC["negatives"],
            "ns_exponent": _ITEM2VEC["exponent"],
            "epochs": _ITEM2VEC["epochs"],
            "alpha": _ITEM2VEC["rate"],
            "workers": (2,),
        },
    },
    "content": {"shortlist": _own("models.content:Content")},
    "sasrec": {"shortlist": _SASREC},  # one setting each: hours of fitting are not spent twelve times
    "twotower": {"shortlist": {"width": (64,)}},
    "edlae": {"shortlist": _EDLAE},
    "dan": {"shortlist": _DAN},
    "slim": {"shortlist": _SLIM},
    "rp3beta": {"shortlist": _own("models.rp3beta:Rp3Beta")},
    "turbocf": {"shortlist": _own("models.turbocf:TurboCf")},
    "gfcf": {"shortlist": _own("models.gfcf:GfCf")},
    "bspm": {"shortlist": _BSPM_NEAR},
    "ease-recent": {"shortlist": {**_EASE, "half_life": HALF_LIFE}},
    "edlae-recent": {"shortlist": {**_EDLAE, "half_life": HALF_LIFE}},
    "dan-recent": {"shortlist": {**_DAN, "half_life": HALF_LIFE}},
    "slim-recent": {"shortlist": {**_SLIM, "half_life": HALF_LIFE}},
    "bspm-recent": {"shortlist": {**_BSPM, "half_life": HALF_LIFE}},
    "bpr-recent": {"shortlist": {**_BPR, "half_life": HALF_LIFE}},
    "warp-recent": {"shortlist": {**_WARP, "half_life": HALF_LIFE}},
    "als-recent": {"shortlist": {**_ALS, "half_life": HALF_LIFE}},
    "item2vec-recent": {"shortlist": {**_ITEM2VEC, "half_life": HALF_LIFE}},
    "itemknn-recent": {"shortlist": {**_KNN, "half_life": HALF_LIFE}},
    "slist": {"shortlist": _own("models.slist:Slist")},
    "transitions": {"shortlist": _own("models.transitions:Transitions")},
    "trend": {"shortlist": dict(spaces.SPACES["recall.popular:Popular"])},
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
