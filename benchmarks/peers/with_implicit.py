"""implicit 0.7.3, in our own environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from worker import SEED, Answer, Job, serve, vectors


def als(job: Job, params: Mapping[str, Any]) -> Answer:
    model = AlternatingLeastSquares(random_state=SEED, **params)
    model.fit(job.train, show_progress=False)

    def answer() -> np.ndarray:
        vectors = [model.recalculate_user(job.user[block], job.history[block]) for block in job.blocks()]
        user, item = np.concatenate(vectors), model.item_factors
        return job.best(lambda block: user[block] @ item.T)

    return answer


def bpr(job: Job, params: Mapping[str, Any]) -> Answer:
    """People as they were in train: implicit finds no vector for a newer history."""
    model = BayesianPersonalizedRanking(random_state=SEED, **params)
    model.fit(job.train, show_progress=False)
    user, item = model.user_factors, model.item_factors
    return lambda: job.best(lambda block: user[job.user[block]] @ item.T)


def itemknn(job: Job, params: Mapping[str, Any]) -> Answer:
    kinds = {"plain": ItemItemRecommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}
    weighting, neighbours = params["weighting"], params["neighbours"]
    if weighting == "bm25":
        model = BM25Recommender(K=neighbours, K1=params["k1"], B=params["b"])
    else:
        model = kinds[weighting](K=neighbours)
    model.fit(job.train, show_progress=False)
    return lambda: job.best(lambda block: (job.history[block] @ model.similarity).toarray())


def top(job: Job, params: Mapping[str, Any]) -> Answer:
    """Nothing to fit: the lists of all who ask, from given vectors."""
    model = AlternatingLeastSquares()
    model.user_factors, model.item_factors = vectors(params["vectors"])
    return lambda: model.recommend(np.arange(len(job.user)), job.seen, N=job.k)[0]


if __name__ == "__main__":
    serve({"als": als, "bpr": bpr, "itemknn": itemknn, "top": top})
