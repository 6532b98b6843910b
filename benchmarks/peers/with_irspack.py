"""irspack, in our own environment."""

from collections.abc import Mapping
from typing import Any

from irspack.recommenders import (
    AsymmetricCosineUserKNNRecommender,
    BaseRecommender,
    CosineKNNRecommender,
    DenseSLIMRecommender,
    IALSRecommender,
)
from worker import SEED, Answer, Job, serve


def _learned(recommender: BaseRecommender, job: Job) -> Answer:
    recommender.learn()
    return lambda: job.best(lambda block: recommender.get_score_cold_user(job.history[block].astype("float64")))


def als(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(IALSRecommender(job.train, random_seed=SEED, **params), job)


def ease(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(DenseSLIMRecommender(job.train, **params), job)


def itemknn(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(CosineKNNRecommender(job.train, normalize=True, **params), job)


def userknn(job: Job, params: Mapping[str, Any]) -> Answer:
    recommender = AsymmetricCosineUserKNNRecommender(job.train, **params)
    recommender.learn()
    return lambda: job.best(lambda block: recommender.get_score(job.user[block]))


if __name__ == "__main__":
    serve({"als": als, "ease": ease, "itemknn": itemknn, "userknn": userknn})
