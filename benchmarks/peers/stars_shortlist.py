"""Shortlist itself, in a process like the others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers.stars import SEED, Answer, Job, serve
from benchmarks.ratings import SETS
from shortlist.dataset import Dataset
from shortlist.eval.ratings import predict, predict_in_time
from shortlist.models.als_explicit import ExplicitAls
from shortlist.models.bayesian_fm import BayesianFm
from shortlist.models.biased_mf import BiasedMf
from shortlist.models.svdpp import SvdPp
from shortlist.models.timesvd import TimeSvd

RECIPES: Mapping[str, Callable[..., Any]] = {
    "als": ExplicitAls,
    "bayesian-fm": BayesianFm,
    "biased-mf": BiasedMf,
    "svdpp": SvdPp,
    "timesvd": TimeSvd,
}


@dataclass(frozen=True)
class Asked:
    train: Dataset
    asked: Dataset
    order: np.ndarray  # of what was asked, in that of `asked`


def load(job: Job) -> Asked:
    """The same ratings, as our own type, with the facts."""
    data = SETS[job.set]()
    train, asked = np.zeros(len(data), np.bool_), np.zeros(len(data), np.bool_)
    train[job.place], asked[job.asked_place] = True, True
    learned = data.only(train)
    _ = learned.sequences  # what the peers' files hold is loaded, not fitted
    return Asked(learned, data.only(asked), np.argsort(job.asked_place))


def fit(loaded: Asked, model: str, params: Mapping[str, Any]) -> Answer:
    learned = RECIPES[model](**params).fit(loaded.train, seed=SEED)
    ask = predict_in_time if model == "timesvd" else predict

    def answer() -> np.ndarray:
        predicted = np.empty(len(loaded.order))
        predicted[loaded.order] = ask(learned, loaded.train, loaded.asked)
        return predicted

    return answer


if __name__ == "__main__":
    serve(fit, load)
