"""Shortlist itself, in a process like the others."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from clicks import BATCH, CROSSES, EPOCHS, LAYERS, PATIENCE, RATE, SEED, WIDTH, Job, Rows, Score, serve

from shortlist.descent import Descent
from shortlist.protocols import Ranker
from shortlist.rank.dcn import Dcn
from shortlist.rank.deepfm import DeepFm
from shortlist.rank.din import Din
from shortlist.rank.fm import Fm
from shortlist.rank.learning import Learning
from shortlist.rank.logistic import Logistic
from shortlist.types import Candidates, Queries


def _ranker(job: Job, model: str, params: Mapping[str, Any]) -> Ranker:
    if model == "logistic":
        return Logistic(l2=params["l2"])
    share = len(job.valid.label) / (len(job.valid.label) + len(job.train.label))
    threads = int(os.environ["OMP_NUM_THREADS"])
    descent = Descent(epochs=EPOCHS, patience=PATIENCE, batch=BATCH, rate=RATE, threads=threads)
    learning = Learning(held=share, latest=True, l2=params["l2"], dropout=params.get("dropout", 0.0), descent=descent)
    if model == "fm":
        return Fm(width=WIDTH, learning=learning)
    if model == "deepfm":
        return DeepFm(width=WIDTH, layers=LAYERS, learning=learning)
    if model == "dcn":
        return Dcn(width=WIDTH, crosses=CROSSES, layers=LAYERS, learning=learning)
    return Din({job.past: job.item}, width=WIDTH, layers=LAYERS, learning=learning)


def _found(rows: Rows) -> Candidates:
    own = np.arange(len(rows.label), dtype=np.int32)
    return Candidates(own, own, dict(rows.columns))


def fit(job: Job, model: str, params: Mapping[str, Any]) -> tuple[Score, int]:
    parts = (
        (job.train,) if model == "logistic" else (job.train, job.valid)
    )  # it stops by the last rows that it is given
    columns = {name: np.concatenate([each.columns[name] for each in parts]) for name in job.train.columns}
    label = np.concatenate([each.label for each in parts]).astype(np.float32)
    scorer = _ranker(job, model, params).learn(_found(Rows(columns, label)), label, seed=SEED)

    def score(rows: Rows) -> np.ndarray:
        found = _found(rows)
        return scorer.score(Queries.of(found.query), found)

    return score, 0


if __name__ == "__main__":
    serve(fit)
