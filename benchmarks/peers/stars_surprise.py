"""Surprise 1.1.5, in an environment of its own."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from stars import SEED, Answer, Job, serve
from surprise import SVD, Dataset, KNNBaseline, Reader, SVDpp, Trainset

PEARSON = {"name": "pearson_baseline", "user_based": False}


def fit(loaded: tuple[Job, Trainset], model: str, params: Mapping[str, Any]) -> Answer:
    job, train = loaded
    if model == "itemknn":
        algorithm = KNNBaseline(sim_options=PEARSON, verbose=False, **params)
    else:
        algorithm = (SVDpp if model == "svdpp" else SVD)(random_state=SEED, **params)
    algorithm.fit(train)
    pairs = zip(job.asked_user.tolist(), job.asked_item.tolist(), strict=True)
    return lambda: [algorithm.predict(user, item).est for user, item in pairs]


def load(job: Job) -> tuple[Job, Trainset]:
    frame = pd.DataFrame({"user": job.user, "item": job.item, "value": job.value})
    return job, Dataset.load_from_df(frame, Reader(rating_scale=job.scale)).build_full_trainset()


if __name__ == "__main__":
    serve(fit, load)
