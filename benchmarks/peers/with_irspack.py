"""irspack, in our own environment."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from irspack.recommenders import (
    AsymmetricCosineUserKNNRecommender,
    BaseRecommender,
    CosineKNNRecommender,
    DenseSLIMRecommender,
    EDLAERecommender,
    IALSRecommender,
    RP3betaRecommender,
    SLIMRecommender,
)
from irspack.utils.id_mapping import retrieve_recommend_from_score
from threadpoolctl import threadpool_limits
from worker import SEED, Answer, Job, serve, vectors


def _learned(recommender: BaseRecommender, job: Job, dtype: str = "float64") -> Answer:
    """`dtype`: of the weights; a history of another is multiplied slowly."""
    recommender.learn()
    return lambda: job.best(lambda block: recommender.get_score_cold_user(job.history[block].astype(dtype)))


def als(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(IALSRecommender(job.train, random_seed=SEED, **params), job)


def ease(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(DenseSLIMRecommender(job.train, **params), job, "float32")


def edlae(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(EDLAERecommender(job.train, **params), job, "float32")


def itemknn(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(CosineKNNRecommender(job.train, normalize=True, **params), job)


def rp3beta(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(RP3betaRecommender(job.train, **params), job)


def slim(job: Job, params: Mapping[str, Any]) -> Answer:
    return _learned(SLIMRecommender(job.train, **params), job)


def userknn(job: Job, params: Mapping[str, Any]) -> Answer:
    recommender = AsymmetricCosineUserKNNRecommender(job.train, **params)
    recommender.learn()
    return lambda: job.best(lambda block: recommender.get_score(job.user[block]))


def top(job: Job, params: Mapping[str, Any]) -> Answer:
    """Nothing to fit: the lists of all who ask, from given vectors."""
    user, item = vectors(params["vectors"])
    threads = len(os.sched_getaffinity(0))

    def answer() -> np.ndarray:
        shown = np.full((len(user), job.k), -1, np.int32)
        with threadpool_limits(threads, "blas"):
            for block in job.blocks():
                score = user[block] @ item.T
                score[job.seen[block].nonzero()] = -np.inf
                for place, found in zip(block, retrieve_recommend_from_score(score, [], job.k, threads), strict=True):
                    shown[place, : len(found)] = [row for row, _ in found]
        return shown

    return answer


if __name__ == "__main__":
    serve(
        {
            "als": als,
            "ease": ease,
            "edlae": edlae,
            "itemknn": itemknn,
            "rp3beta": rp3beta,
            "slim": slim,
            "top": top,
            "userknn": userknn,
        }
    )
