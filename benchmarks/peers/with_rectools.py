"""RecTools 0.19, in environments of its own: it needs NumPy 1.26 and its own build of implicit, for SASRec PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, ItemItemRecommender, TFIDFRecommender
from rectools.dataset import Dataset, IdMap, Interactions
from rectools.models import EASEModel, ImplicitALSWrapperModel, ImplicitItemKNNWrapperModel
from rectools.models.rank import Distance, ImplicitRanker
from worker import SEED, Answer, Job, arrays, serve, vectors


class Loaded(NamedTuple):
    """A job, with what it learns from as RecTools' own data set."""

    job: Job
    train: Dataset

    @staticmethod
    def read(folder: Path) -> "Loaded":
        job, events = Job.read(folder), arrays(folder / "events.npz")
        liked = np.asarray(job.train[events["user"], events["item"]]).ravel() > 0
        return Loaded(job, _dataset(job, *(events[name][liked] for name in ("user", "item", "time"))))


def _dataset(job: Job, user: np.ndarray, item: np.ndarray, time: np.ndarray) -> Dataset:
    """Of likings at microseconds. Our rows are RecTools' ids, so that scores come back by item row."""
    moment = pd.to_datetime(time, unit="us")
    table = pd.DataFrame({"user_id": user, "item_id": item, "weight": 1.0, "datetime": moment})
    once = table.drop_duplicates(["user_id", "item_id"])
    users, items = (IdMap.from_values(np.arange(size)) for size in job.train.shape)
    return Dataset(users, items, Interactions(once))


def _ranked(job: Job, subject: Any, item: np.ndarray) -> np.ndarray:
    """(B, k) the best by the products of subjects (B, D), who may be sparse, with items (I, D)."""
    known = None if job.known.all() else np.flatnonzero(job.known)
    asked = np.arange(len(job.user))
    ranker = ImplicitRanker(Distance.DOT, subject, item)
    row, found, _ = ranker.rank(asked, k=job.k, filter_pairs_csr=job.seen, sorted_object_whitelist=known)
    shown = np.full((len(asked), job.k), -1, np.int32)
    shown[row, np.arange(len(row)) - np.searchsorted(row, row)] = found
    return shown


def als(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    job = loaded.job
    model = ImplicitALSWrapperModel(AlternatingLeastSquares(random_state=SEED, **params)).fit(loaded.train).model

    def answer() -> np.ndarray:
        user = np.concatenate([model.recalculate_user(job.user[block], job.history[block]) for block in job.blocks()])
        return job.best(lambda block: user[block] @ model.item_factors.T)

    return answer


def ease(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    weight = EASEModel(**params).fit(loaded.train).weight
    return lambda: _ranked(loaded.job, loaded.job.history, weight.T)


def itemknn(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    kinds = {"plain": ItemItemRecommender, "cosine": CosineRecommender, "tfidf": TFIDFRecommender}
    weighting, neighbours = params["weighting"], params["neighbours"]
    if weighting == "bm25":
        inner = BM25Recommender(K=neighbours, K1=params["k1"], B=params["b"])
    else:
        inner = kinds[weighting](K=neighbours)
    similarity = ImplicitItemKNNWrapperModel(inner).fit(loaded.train).model.similarity
    return lambda: loaded.job.best(lambda block: (loaded.job.history[block] @ similarity).toarray())


def sasrec(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    from rectools.models import SASRecModel  # PyTorch is there for this model alone

    model = SASRecModel(loss="softmax", **params).fit(loaded.train)

    def answer() -> np.ndarray:
        job = loaded.job
        history = arrays(job.folder / "history_lists.npz")
        liked = history["weight"] > 0
        user = np.repeat(job.user, np.diff(history["ptr"]))
        asked = _dataset(job, user[liked], history["item"][liked], history["time"][liked])
        found = model.recommend(
            job.user, asked, k=job.k, filter_viewed=True, items_to_recommend=np.flatnonzero(job.known)
        )
        place = pd.Series(np.arange(len(job.user)), job.user)[found["user_id"]].to_numpy()
        shown = np.full((len(job.user), job.k), -1, np.int32)
        shown[place, found["rank"].to_numpy() - 1] = found["item_id"]
        return shown

    return answer


def top(loaded: Loaded, params: Mapping[str, Any]) -> Answer:
    """Nothing to fit: the lists of all who ask, from given vectors."""
    user, item = vectors(params["vectors"])
    return lambda: _ranked(loaded.job, user, item)


if __name__ == "__main__":
    serve({"als": als, "ease": ease, "itemknn": itemknn, "sasrec": sasrec, "top": top}, Loaded.read)
