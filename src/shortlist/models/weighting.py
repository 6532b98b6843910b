"""How much a liking tells: less from people who like everything, less about items that everybody takes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from shortlist.errors import ConfigError

SATURATION, LENGTH = 1.2, 0.75  # k1 and b of Okapi BM25 (Robertson et al., TREC-3)


def weighted(matrix: csr_array, scheme: str) -> csr_array:
    """The matrix (U, I) of likings reweighted: "cosine" as it is, "tfidf", or "bm25"; rows of people are the terms."""
    if scheme == "cosine":
        return matrix
    count = np.diff(matrix.indptr)
    rarity = np.repeat(np.log(matrix.shape[1] / (1.0 + count)), count)
    if scheme == "tfidf":
        value = np.sqrt(matrix.data) * rarity
    elif scheme == "bm25":
        taken = matrix.sum(axis=0)
        norm = 1 - LENGTH + LENGTH * taken / max(taken.sum() / max(len(taken), 1), 1e-12)
        value = matrix.data * (SATURATION + 1) / (SATURATION * norm[matrix.indices] + matrix.data) * rarity
    else:
        raise ConfigError(
            f"weighting is {scheme!r}, but must be one of cosine, tfidf, bm25",
            where="models.itemknn",
            hint="cosine is a good start",
        )
    reweighted = (np.maximum(value, 0).astype(np.float32), matrix.indices, matrix.indptr)
    return csr_array(reweighted, shape=matrix.shape)
