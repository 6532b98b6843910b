"""LensKit 2025.8.1, in an environment of its own: it needs torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import Dataset, ItemList, RecQuery, from_interactions_df
from lenskit.knn import EASEScorer, ItemKNNScorer, UserKNNScorer
from lenskit.pipeline import Component
from lenskit.training import TrainingOptions
from worker import SEED, Answer, Job, serve


class Loaded(NamedTuple):
    """A job, with what it learns from as LensKit's own data set."""

    job: Job
    train: Dataset
    learned: np.ndarray  # items in it: LensKit fails for others

    @staticmethod
    def read(folder: Path) -> "Loaded":
        job = Job.read(folder)
        user, item = job.train.nonzero()
        return Loaded(job, from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item})), np.unique(item))


def _trained(scorer: Component, loaded: Loaded) -> Answer:
    scorer.train(loaded.train, TrainingOptions(rng=SEED))
    job, learned = loaded.job, loaded.learned
    everything = ItemList(item_ids=learned)

    def score(question: int) -> np.ndarray:
        history = ItemList(item_ids=np.intersect1d(job.history[question].indices, learned))
        query = RecQuery(user_id=int(job.user[question]), history_items=history)
        out = np.full(job.train.shape[1], np.nan, np.float32)
        out[learned] = scorer(query, everything).scores("numpy")
        return out

    return lambda: job.best(lambda block: np.stack([score(int(question)) for question in block]))


def als(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    return _trained(ImplicitMFScorer(**params), loaded)


def ease(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    return _trained(EASEScorer(**params), loaded)


def itemknn(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    return _trained(ItemKNNScorer(feedback="implicit", **params), loaded)


def userknn(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    return _trained(UserKNNScorer(feedback="implicit", **params), loaded)


if __name__ == "__main__":
    serve({"als": als, "ease": ease, "itemknn": itemknn, "userknn": userknn}, Loaded.read)
