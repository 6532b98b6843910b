"""DeepCTR-Torch 0.3.0, in an environment of its own: it needs torch. Its fit knows no stopping that brings the best
weights back, so epochs are run one by one, and the weights of the best kept."""

import copy
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from clicks import BATCH, CROSSES, EPOCHS, LAYERS, PATIENCE, RATE, SEED, WIDTH, Job, Rows, Score, log_loss, serve
from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat
from deepctr_torch.models import DCN, DIN, DeepFM
from deepctr_torch.models.basemodel import BaseModel


def _features(job: Job) -> list[Any]:
    made: list[Any] = []
    for name, column in job.train.columns.items():
        if column.ndim == 1:
            made.append(SparseFeat(name, job.sizes[name], embedding_dim=WIDTH))
    for name, column in job.train.columns.items():
        if column.ndim == 2 and name == job.past:
            own = SparseFeat(f"hist_{job.item}", job.sizes[job.item], embedding_dim=WIDTH, embedding_name=job.item)
            made.append(VarLenSparseFeat(own, column.shape[1], length_name="seq_length"))
        elif column.ndim == 2:
            own = SparseFeat(name, job.sizes[name], embedding_dim=WIDTH)
            made.append(VarLenSparseFeat(own, column.shape[1], combiner="mean"))
    return made


def _given(job: Job, rows: Rows) -> dict[str, np.ndarray]:
    """Its form of the columns: lists begin with what they hold."""
    made = {}
    for name, column in rows.columns.items():
        if name == job.past:
            made["seq_length"] = (column > 0).sum(axis=1)
            name = f"hist_{job.item}"
        if column.ndim == 2:
            column = np.take_along_axis(column, np.argsort(column == 0, axis=1, kind="stable"), axis=1)
        made[name] = column.copy()
    return made


def _model(job: Job, model: str, params: Mapping[str, Any]) -> BaseModel:
    features = _features(job)
    known = {"l2_reg_embedding": params["l2"], "seed": SEED}
    if model == "din":
        return DIN(features, [job.item], dnn_hidden_units=LAYERS, att_hidden_size=(64, 16), **known)
    known["l2_reg_linear"] = params["l2"]
    if model == "dcn":
        matrix = {"cross_num": CROSSES, "cross_parameterization": "matrix"}
        return DCN(features, features, dnn_hidden_units=LAYERS, **matrix, **known)
    layers = LAYERS if model == "deepfm" else ()
    return DeepFM(features, features, use_fm=model != "logistic", dnn_hidden_units=layers, **known)


def fit(job: Job, model: str, params: Mapping[str, Any]) -> tuple[Score, int]:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    learner = _model(job, model, params)
    learner.compile(torch.optim.Adam(learner.parameters(), lr=RATE), "binary_crossentropy")

    def score(rows: Rows) -> np.ndarray:
        return np.asarray(learner.predict(_given(job, rows), 8192)).reshape(-1)

    train, label = _given(job, job.train), job.train.label.astype(np.float32)
    best, kept, at, epoch = float("inf"), None, 0, 0
    while epoch < EPOCHS and epoch - at < PATIENCE:
        epoch += 1
        learner.fit(dict(train), label, batch_size=BATCH, epochs=1, verbose=0)
        lost = log_loss(score(job.valid), job.valid.label)
        if lost < best:
            best, kept, at = lost, copy.deepcopy(learner.state_dict()), epoch
    if kept is not None:
        learner.load_state_dict(kept)
    return score, at


if __name__ == "__main__":
    serve(fit)
