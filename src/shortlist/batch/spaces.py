"""What may be tuned of each recipe, by what `use` names it: `shortlist tune` and the benchmarks search here.

Values are in order, so that a neighbour in the list is a neighbour in meaning. A key with a dot is a field of a field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Space: TypeAlias = Mapping[str, Sequence[Any]]

FACTORS = (32, 64, 128)
NEIGHBOURS = (20, 50, 100, 200, 500)
RIDGE = (25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12800)
HALF_LIFE = (0.7, 1.0, 2.0, 4.0, 8.0, 16.0)
RATE = (0.0003, 0.001, 0.003)  # of Adam
PROPOSED = (20, 50, 100, 150, 200, 300, 500)
"""How many a source of a pipeline may propose."""
KEPT = (50, 100, 150, 200, 300)
"""How many a coarse ranker may let through."""

_RECENCY: Space = {"half_life": (0.0, *HALF_LIFE)}
_PAIRWISE: Space = {
    "factors": FACTORS,
    "rate": (0.02, 0.05, 0.1),
    "reg": (0.003, 0.01, 0.03, 0.08, 0.15),
    "epochs": (15, 30, 60, 120),
    "popularity": (0.0, 0.5, 1.0),
}
_RATINGS: Space = {
    "factors": (14, 30, 62, 126),
    "epochs": (30, 60, 120),
    "rate": (0.005, 0.01, 0.02),
    "reg": (0.03, 0.06, 0.08, 0.12),
    "reg_bias": (0.01, 0.03, 0.1),
}
_FILTER: Space = {
    "factors": (64, 128, 256, 512, 1024),
    "strength": (0.1, 0.2, 0.4, 0.8),
    "rolloff": (0.0, 0.15, 0.3, 0.6),
    "user_power": (0.3, 0.4, 0.5),
    "item_power": (0.0, 0.05, 0.1, 0.2),
}

SPACES: Mapping[str, Space] = {
    "models.als:Als": {
        "factors": FACTORS,
        "reg": (0.0003, 0.001, 0.003, 0.01, 0.03),
        "unobserved": (0.3, 1.0, 3.0, 10.0, 30.0),
        "exponent": (0.5, 1.0),
        **_RECENCY,
    },
    "models.als_explicit:ExplicitAls": {
        "factors": (4, 8, 16, 32),
        "reg": (0.3, 1.0, 3.0, 10.0),
        "exponent": (0.0, 0.3, 0.5, 1.0),
        "bias": (0.5, 1.0, 1.5, 3.0),
    },
    "models.bayesian_fm:BayesianFm": {"factors": (6, 14, 30, 62), "freedom": (4.0, 8.0, 16.0)},
    "models.biased_mf:BiasedMf": _RATINGS,
    "models.bpr:Bpr": {**_PAIRWISE, **_RECENCY},
    "models.bspm:Bspm": {**_FILTER, "time": (1.0, 1.5, 2.0, 2.5), **_RECENCY},
    "models.content:Content": {"factors": FACTORS, "least": (2, 5, 10), "half_life": (0.0, 1.0, 3.0, 10.0, 30.0)},
    "models.dan:Dan": {
        "reg": (0.1, 0.3, 1.0, 3.0, 10.0),
        "item_power": (0.0, 0.1, 0.2, 0.3, 0.5),
        "user_power": (0.0, 0.2, 0.4, 0.7),
        **_RECENCY,
    },
    "models.ease:Ease": {"reg": RIDGE, **_RECENCY},
    "models.edlae:Edlae": {"drop": (0.1, 0.2, 0.3, 0.5, 0.7), "reg": RIDGE, **_RECENCY},
    "models.gfcf:GfCf": {**_FILTER, **_RECENCY},
    "models.item2vec:Item2Vec": {
        "pairs": ("sampled", "window"),
        "length": (5, 10, 20, 40),
        "factors": FACTORS,
        "window": (2, 5, 10),
        "negatives": (5, 10, 20),
        "exponent": (0.0, 0.5, 0.75, 1.0),
        "epochs": (3, 9),
        "rate": (0.01, 0.025, 0.05),
        **_RECENCY,
    },
    "models.itemknn:ItemKnn": {
        "weighting": ("cosine", "tfidf", "bm25"),
        "neighbours": NEIGHBOURS,
        "shrink": (0.0, 10.0, 100.0),
        "asymmetry": (0.3, 0.5, 0.7),
        **_RECENCY,
    },
    "models.pointwise:Pointwise": {"least": (2, 5, 10), "facts": (4, 8, 16)},
    "models.profile:Profile": {"shrink": (1e3, 1e4, 5e4), "weight": (0.3, 0.5, 0.7, 1.0)},
    "models.rp3beta:Rp3Beta": {
        "neighbours": NEIGHBOURS,
        "alpha": (0.5, 0.7, 1.0, 1.3),
        "beta": (0.2, 0.4, 0.6, 0.8),
        **_RECENCY,
    },
    "models.sasrec:Sasrec": {
        "width": FACTORS,
        "blocks": (1, 2, 3),
        "heads": (1, 2, 4),
        "length": (50, 100, 200),
        "dropout": (0.1, 0.2, 0.3, 0.5),
        "descent.rate": RATE,
    },
    "models.slim:Slim": {"l1": (0.3, 1.0, 3.0, 10.0, 30.0), "l2": (10, 30, 100, 300, 1000), **_RECENCY},
    "models.slist:Slist": {
        "reg": (10, 30, 100, 300, 1000),
        "past": (0.7, 1.0, 2.0, 4.0),
        "future": (0.3, 0.5, 1.0, 2.0),
        "whole": (0.0, 0.03, 0.1, 0.3, 0.6),
        "days": (0.0, 30.0, 90.0, 365.0),
        "half_life": (0.7, 1.0, 2.0, 4.0),
    },
    "models.svdpp:SvdPp": _RATINGS,
    "models.timesvd:TimeSvd": {
        **_RATINGS,
        "bins": (5, 15, 30),
        "reg_drift": (0.03, 0.1, 0.3, 1.0),
        "shrink": (30.0, 100.0, 300.0),
    },
    "models.transitions:Transitions": {
        "window": (5, 10, 20),
        "fade": (1.0, 1.5, 3.0, 6.0),
        "half_life": (1.0, 1.5, 2.0, 3.0, 5.0),
        "power": (0.2, 0.3, 0.5, 0.7, 1.0),
        "source_power": (0.1, 0.2, 0.4, 0.7),
        "target_power": (0.0, 0.08, 0.2, 0.4),
    },
    "models.turbocf:TurboCf": {
        "alpha": (0.3, 0.4, 0.5, 0.6, 0.7),
        "power": (0.5, 0.6, 0.8, 1.0, 1.3, 1.6),
        "neighbours": (*NEIGHBOURS, 1000),
        **_RECENCY,
    },
    "models.twotower:TwoTower": {
        "width": FACTORS,
        "temperature": (0.03, 0.05, 0.07, 0.1, 0.2),
        "forget": (0.1, 0.3, 0.5),
        "negatives": (64, 256, 1024),
        "descent.rate": RATE,
        "descent.decay": (0.0, 1e-5, 1e-4, 1e-3),
    },
    "models.userknn:UserKnn": {"neighbours": NEIGHBOURS, "weighting": ("cosine", "tfidf", "bm25"), **_RECENCY},
    "models.warp:Warp": {**_PAIRWISE, "epochs": (10, 20, 40), "trials": (5, 10, 30), **_RECENCY},
    "recall.expansion:Expansion": {
        "categories": (3, 5, 10, 20),
        "prior": (10.0, 30.0, 100.0, 300.0),
        "half_life": (0.0, 2.0, 8.0, 32.0),
    },
    "recall.popular:Popular": {"half_life": ("1d", "3d", "7d", "30d", "90d", "365d", "")},
    "recall.recent:Recent": {"items": (1, 3, 5, 10, 20)},
    "recall.toprated:TopRated": {"prior": (10.0, 30.0, 100.0, 300.0)},
    "rank.fuse:ReciprocalRank": {"constant": (10.0, 30.0, 60.0, 100.0)},
    "rank.weighted:ZBlend": {"depth": (10, 20, 50)},
}
