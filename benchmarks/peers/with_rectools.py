"""RecTools 0.19, in an environment of its own: it needs NumPy 1.26 and its own build of implicit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel
from rectools.models.rank import Distance, ImplicitRanker
from worker import SEED, Answer, Job, serve, vectors


def _dataset(job: Job) -> Dataset:
    """Our rows are RecTools' ids, so that scores come back by item row."""
    user, item = job.train.nonzero()
    table = pd.DataFrame({"user_id": user, "item_id": item, "weight": 1.0, "datetime": pd.Timestamp("2020-01-01")})
    users, items = (IdMap.from_values(np.arange(size)) for size in job.train.shape)
    return Dataset(users, items, Interactions(table))


def als(job: Job, params: Mapping[str, Any]) -> Answer:
    model = ImplicitALSWrapperModel(AlternatingLeastSquares(random_state=SEED, **params)).fit(_dataset(job)).model

    def answer() -> np.ndarray:
        vectors = [model.recalculate_user(job.user[block], job.history[block]) for block in job.blocks()]
        user, item = np.concatenate(vectors), model.item_factors
        return job.best(lambda block: user[block] @ item.T)

    return answer


def ease(job: Job, params: Mapping[str, Any]) -> Answer:
    weight = EASEModel(**params).fit(_dataset(job)).weight
    return lambda: job.best(lambda block: job.history[block] @ weight)


def itemknn(job: Job, params: Mapping[str, Any]) -> Answer:
    kinds = {"plain": ItemItemRecommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}
    weighting, neighbours = params["weighting"], params["neighbours"]
    if weighting == "bm25":
        inner = BM25Recommender(K=neighbours, K1=params["k1"], B=params["b"])
    else:
        inner = kinds[weighting](K=neighbours)
    similarity = ImplicitItemKNNWrapperModel(inner).fit(_dataset(job)).model.similarity
    return lambda: job.best(lambda block: (job.history[block] @ similarity).toarray())


def top(job: Job, params: Mapping[str, Any]) -> Answer:
    """Not a fit: the lists of all who ask, from given vectors."""
    user, item = vectors(params["vectors"])
    everybody = np.arange(len(user))
    ranker = ImplicitRanker(Distance.DOT, user, item)
    _, shown, _ = ranker.rank(everybody, k=job.k, filter_pairs_csr=job.seen)
    return lambda: np.reshape(shown, (len(user), job.k))


if __name__ == "__main__":
    serve({"als": als, "ease": ease, "itemknn": itemknn, "top": top})
