"""LensKit 2025.8.1, in an environment of its own: it needs torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from lenskit.als import ImplicitMFScorer
from lenskit.data import ItemList, RecQuery, from_interactions_df
from lenskit.knn import EASEScorer, ItemKNNScorer, UserKNNScorer
from lenskit.pipeline import Component
from lenskit.training import TrainingOptions
from worker import SEED, Answer, Job, serve


def _trained(scorer: Component, job: Job) -> Answer:
    user, item = job.train.nonzero()
    scorer.train(from_interactions_df(pd.DataFrame({"user_id": user, "item_id": item})), TrainingOptions(rng=SEED))
    learned = np.unique(item)  # it fails for items beyond its training
    everything = ItemList(item_ids=learned)

    def score(question: int) -> np.ndarray:
        history = ItemList(item_ids=np.intersect1d(job.history[question].indices, learned))
        query = RecQuery(user_id=int(job.user[question]), history_items=history)
        out = np.full(job.train.shape[1], np.nan, np.float32)
        out[learned] = scorer(query, everything).scores("numpy")
        return out

    return lambda: job.best(lambda block: np.stack([score(int(question)) for question in block]))


def als(job: Job, params: Mapping[str, Any]) -> Answer:
    return _trained(ImplicitMFScorer(**params), job)


def ease(job: Job, params: Mapping[str, Any]) -> Answer:
    return _trained(EASEScorer(**params), job)


def itemknn(job: Job, params: Mapping[str, Any]) -> Answer:
    return _trained(ItemKNNScorer(feedback="implicit", **params), job)


def userknn(job: Job, params: Mapping[str, Any]) -> Answer:
    return _trained(UserKNNScorer(feedback="implicit", **params), job)


if __name__ == "__main__":
    serve({"als": als, "ease": ease, "itemknn": itemknn, "userknn": userknn})
