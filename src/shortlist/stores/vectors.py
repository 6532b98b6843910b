"""What every index asks of vectors, and what recall is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import DataError, ShapeError
from shortlist.types import Rows, Vectors

METRICS = ("inner", "cosine")
ASKED, DEPTH = 128, 100  # questions, and places of each, that recall is measured by


def questions(held: Vectors) -> Vectors:
    """(ASKED, D) what recall is measured by: vectors that are held, and means of five of them, as people have them."""
    chance = np.random.default_rng(len(held))
    own = held[chance.integers(0, len(held), ASKED // 2)]
    return np.concatenate((own, held[chance.integers(0, len(held), (ASKED // 2, 5))].mean(axis=1)))


def fits(space: str, width: int, of: str, vectors: NDArray[Any], metric: str) -> None:
    """ShapeError or DataError unless `vectors` and `metric` are those of a space of `width` numbers and metric `of`."""
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise ShapeError(
            f"space {space!r} holds vectors of {width} numbers, got shape {vectors.shape}",
            hint="Vectors of one space come from one model; the name of the space carries the release.",
        )
    if metric != of:
        raise DataError(
            f"space {space!r} was built for the metric {of!r}, not {metric!r}",
            hint="Ask by the metric of the space, or build it again: scores of two metrics do not compare.",
        )


def unit(vectors: Vectors) -> Vectors:
    """Of length 1; zeros stay zeros."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    made: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length != 0)
    return made


def checked(space: str, rows: Rows, vectors: Vectors, metric: str) -> tuple[Rows, Vectors]:
    """As they are stored. ShapeError or DataError when they are no vectors of catalog rows."""
    rows, vectors = np.asarray(rows, np.int32), np.ascontiguousarray(vectors, np.float32)
    if metric not in METRICS:
        raise DataError(f"space {space!r}: no metric {metric!r}", hint=f"The metrics are {' and '.join(METRICS)}.")
    if vectors.ndim != 2 or len(vectors) != len(rows):
        raise ShapeError(f"space {space!r}: vectors of shape {vectors.shape} for {len(rows)} rows")
    if len(rows) and rows.min() < 0:
        raise ShapeError(f"space {space!r}: row {rows.min()} is not a catalog row")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(
            f"space {space!r}: the vector of row {rows[bad[0]]} is not finite",
            hint="Train again or leave that row out; a NaN would spread into every list.",
        )
    return rows, unit(vectors) if metric == "cosine" else vectors
