"""What `benchmarks.kernels` compares: every model, in every library that has the same algorithm, with its settings.

Where the objective is the same, so are the settings; where only the idea is, each library has those that validation
found for it. Ours that nobody else has run with what is kept in benchmarks/tuned, or with their defaults.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.item2vec import sides
from benchmarks.splits import TIMED
from shortlist.models.item2vec import Item2Vec

OWN = "shortlist"
TUNED = Path(__file__).parent / "tuned"
EPOCHS = 2  # of what is learned with PyTorch: its fit is as long as one likes
ALONE = ("bspm", "dan", "gfcf", "turbocf")
ALONE_WITH_TIMES = ("content", "profile", "slist", "transitions")  # and with facts
NOBODY = "no peer has it"

Params = Mapping[str, Any]


class Race(NamedTuple):
    """One algorithm in several libraries."""

    model: str
    note: str
    params: Mapping[str, Params]
    rounds: Mapping[str, str] = {}  # what the libraries call the number of rounds, where there are any
    tried: tuple[int, ...] = (4, 8, 16)  # rounds


def races(name: str, split: str, users: int) -> list[Race]:
    """What is compared on a set with so many people; models of all pairs of items on the smaller sets only."""
    timed = name in TIMED  # and small
    found = [*_als(timed), *_neighbours(), _bpr(), _item2vec()]
    if timed:
        found += [*_regressions(users), *_learned()]
    alone = (*ALONE, *ALONE_WITH_TIMES) if timed else tuple(model for model in ALONE if model != "dan")
    found += [Race(model, NOBODY, {OWN: _tuned(name, split, model)}) for model in alone]
    found.append(Race("warp", "LightFM has it, but no wheel for this Python", {OWN: {"threads": 0}}))
    return sorted(found, key=lambda race: race.model)


def _als(dense: bool) -> list[Race]:
    rounds = {
        OWN: "iterations",
        "peer:implicit": "iterations",
        "peer:irspack": "train_epochs",
        "peer:rectools": "iterations",
    }
    pair, reg = (1.0, 0.003) if dense else (0.014, 0.003)
    alpha, penalty = (2.0, 10.0) if dense else (50.0, 60.0)
    found = []
    for factors in (64, 128):
        implicit = {"factors": factors, "alpha": alpha, "regularization": penalty}
        params = {
            OWN: {"factors": factors},
            "peer:implicit": implicit,
            "peer:irspack": {"n_components": factors, "alpha0": pair, "reg": reg},
            "peer:rectools": implicit,
        }
        found.append(Race("als", f"{factors} factors", params, rounds))
    return found


def _neighbours() -> list[Race]:
    cosine = {"weighting": "cosine", "neighbours": 100}
    plain = {"feature_weighting": "NONE", "top_k": 100}
    items = {OWN: cosine, "peer:implicit": cosine, "peer:irspack": plain, "peer:rectools": cosine}
    people = {OWN: cosine, "peer:irspack": plain, "peer:lenskit": {"max_nbrs": 100, "min_nbrs": 1}}
    walks = {OWN: {"alpha": 1.0, "beta": 0.6, "neighbours": 100}, "peer:irspack": {"beta": 0.6, "top_k": 100}}
    return [
        Race("itemknn", "cosine, 100 neighbours", items),
        Race("userknn", "cosine, 100 neighbours", people),
        Race("rp3beta", "100 neighbours", walks),
    ]


def _regressions(users: int) -> list[Race]:
    """Irspack's SLIM has the same loss, its penalties in parts of the number of people."""
    ease = {OWN: {"reg": 500.0}, "peer:irspack": {"reg": 500.0}, "peer:rectools": {"regularization": 500.0}}
    edlae = {OWN: {"drop": 0.3, "reg": 100.0}, "peer:irspack": {"dropout_p": 0.3, "reg": 100.0}}
    l1, l2 = 3.0, 100.0
    slim = {OWN: {"l1": l1, "l2": l2}, "peer:irspack": {"alpha": (l1 + l2) / users, "l1_ratio": l1 / (l1 + l2)}}
    return [Race("ease", "", ease), Race("edlae", "", edlae), Race("slim", "", slim)]


def _bpr() -> Race:
    params = {
        OWN: {"factors": 64, "rate": 0.1, "reg": 0.01, "threads": 0},
        "peer:implicit": {"factors": 64, "learning_rate": 0.05, "regularization": 0.01},
    }
    rounds = {OWN: "epochs", "peer:implicit": "iterations"}
    return Race("bpr", "64 factors", params, rounds, tried=(15, 30, 60, 120))


def _item2vec() -> Race:
    """The peer gets our walks for nothing; Spark ML is beside it in `benchmarks.item2vec`."""
    params = sides(Item2Vec())
    return Race("item2vec", "the same walks", {side: params[side] for side in (OWN, "peer:gensim")})


def _learned() -> list[Race]:
    own = {"width": 64, "blocks": 2, "heads": 2, "length": 100, "dropout": 0.2, "descent.epochs": EPOCHS}
    rectools = {
        "n_factors": 64,
        "n_blocks": 2,
        "n_heads": 2,
        "session_max_len": 100,
        "dropout_rate": 0.2,
        "batch_size": 128,
        "lr": 0.001,
        "epochs": EPOCHS,
    }
    said = f"{EPOCHS} epochs"
    return [
        Race("sasrec", said, {OWN: own, "peer:rectools": rectools}),
        Race("twotower", f"{said}, {NOBODY}", {OWN: {"descent.epochs": EPOCHS}}),
    ]


def _tuned(name: str, split: str, model: str) -> Params:
    """Our settings that validation found on this set; {} = the defaults."""
    path = TUNED / f"{name}.json"
    known = json.loads(path.read_text("utf-8")) if path.exists() else {}
    found: Params = known.get(split, {}).get(model, {}).get(OWN, {}).get("params", {})
    return found
