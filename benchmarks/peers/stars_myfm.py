"""myFM 0.4.0, in an environment of its own, as its documentation does it: relation blocks for people and items, the
items a person rated and the people who rated an item, one over the root of how many, and a prior for each field."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from myfm import MyFMRegressor, RelationBlock
from scipy.sparse import csr_matrix, diags, hstack, identity
from stars import SEED, Answer, Facts, Job, serve


def _block(own: int, pairs: csr_matrix, facts: Facts) -> tuple[csr_matrix, list[int]]:
    """Features of each row, and the sizes of their groups."""
    share = diags(1 / np.sqrt(np.maximum(np.diff(pairs.indptr), 1)))
    known = csr_matrix((facts.share, facts.code, facts.ptr), shape=(own, int(facts.sizes.sum())))
    features = hstack([identity(own), share @ pairs, known], format="csr").astype(np.float64)
    return features, [own, pairs.shape[1], *(int(size) for size in facts.sizes if size)]


def fit(job: Job, model: str, params: Mapping[str, Any]) -> Answer:
    users, items = len(job.people.ptr) - 1, len(job.items.ptr) - 1
    pairs = csr_matrix((np.ones(len(job.user)), (job.user, job.item)), shape=(users, items))
    people, people_groups = _block(users, pairs, job.people)
    things, item_groups = _block(items, pairs.T.tocsr(), job.items)
    learned = MyFMRegressor(rank=params["rank"], random_seed=SEED)
    learned.fit(
        csr_matrix((len(job.user), 0)),
        job.value.astype(np.float64),
        X_rel=[RelationBlock(job.user.tolist(), people), RelationBlock(job.item.tolist(), things)],
        n_iter=params["n_iter"],
        n_kept_samples=params["n_iter"] - params["warmup"],
        group_shapes=[*people_groups, *item_groups],
    )
    asked = [RelationBlock(job.asked_user.tolist(), people), RelationBlock(job.asked_item.tolist(), things)]
    return lambda: learned.predict(csr_matrix((len(job.asked_user), 0)), X_rel=asked)


if __name__ == "__main__":
    serve(fit)
