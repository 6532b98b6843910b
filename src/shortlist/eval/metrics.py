"""What a list is worth: one number per question, so that systems can be compared person by person.

Shapes: B questions, k places, I items. `shown` is (B, k) item rows, best first, -1 = an empty place.
`relevant` holds B lists of distinct items (column "item"), none empty. Every function is pure.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY
from shortlist.types import Candidates, Mask, Ragged, Rows, Vectors

Values: TypeAlias = NDArray[np.float64]  # (B,) one number per question, NaN = the question has none

RANKING = ("recall", "precision", "ndcg", "map", "mrr", "hit")
"""The names that `ranking` answers at each k."""


def places(found: Candidates, questions: int, k: int) -> Rows:
    """(B, k) the first k items of each question, -1 where the list is shorter. Lists must be in order, best first."""
    ptr = ops.pointers(found.query, questions)
    place = np.arange(len(found)) - ptr[:-1][found.query]
    kept = place < k
    shown = np.full((questions, k), -1, np.int32)
    shown[found.query[kept], place[kept]] = found.item[kept]
    return shown


def hits(shown: Rows, relevant: Ragged) -> Mask:
    """(B, k) true where the item in that place is relevant; an item counts once, at its first place."""
    questions, k = shown.shape
    query = np.repeat(np.arange(questions, dtype=np.int32), k)
    found = ops.contains(relevant, query, shown.ravel()) & (shown.ravel() >= 0)
    key = (query[found].astype(np.int64) << 32) | shown.ravel()[found]
    first = np.zeros(int(found.sum()), np.bool_)
    first[np.unique(key, return_index=True)[1]] = True
    hit = np.zeros(questions * k, np.bool_)
    hit[np.flatnonzero(found)[first]] = True
    return hit.reshape(questions, k)


def ranking(hit: Mask, relevant: NDArray[np.int64], k: int) -> dict[str, Values]:
    """The measures of `RANKING` over the first k places of `hit` (B, >= k), with `relevant` (B,) right answers each.

    recall = hits / relevant; precision = hits / k; ndcg: binary gain, log2 discount, ideal over min(k, relevant);
    map = sum of precision at each hit / relevant (as trec_eval); mrr = 1 / place of the first hit; hit = any.
    """
    hit = hit[:, :k]
    place = np.arange(1, k + 1)
    count = hit.sum(axis=1)
    discount = 1 / np.log2(place + 1)
    ideal = np.concatenate(([0.0], np.cumsum(discount)))[np.minimum(relevant, k)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "recall": count / relevant,
            "precision": np.where(relevant > 0, count / k, np.nan),
            "ndcg": (hit @ discount) / ideal,
            "map": (np.cumsum(hit, axis=1) / place * hit).sum(axis=1) / relevant,
            "mrr": np.where(relevant > 0, np.where(count > 0, 1 / (hit.argmax(axis=1) + 1.0), 0), np.nan),
            "hit": np.where(relevant > 0, (count > 0).astype(np.float64), np.nan),
        }


def _mean_shown(shown: Rows, value: NDArray[np.floating]) -> Values:
    """(B,) mean of `value` (B, k) over the places that are filled and known."""
    known = (shown >= 0) & ~np.isnan(value)
    count = known.sum(axis=1)
    total = np.where(known, value, 0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def novelty(shown: Rows, users_of_item: NDArray[np.integer], users: int) -> Values:
    """(B,) mean of -log2 of the share of `users` who have each shown item; nobody counts as one user."""
    share = np.maximum(users_of_item, 1) / max(users, 1)
    return _mean_shown(shown, -np.log2(share)[np.maximum(shown, 0)])


def diversity(shown: Rows, vectors: Vectors) -> Values:
    """(B,) intra-list diversity: mean over the pairs of a list of 1 - cosine of their attribute `vectors` (I, D).

    NaN for lists of fewer than two items that have attributes (Ziegler et al. 2005).
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    described = (shown >= 0) & (length[np.maximum(shown, 0), 0] > 0)
    total = np.zeros((len(shown), vectors.shape[1]))
    for place in range(shown.shape[1]):
        total += np.where(described[:, place, None], unit[np.maximum(shown[:, place], 0)], 0)
    count = described.sum(axis=1)
    pairs = count * (count - 1)
    cosine = (total * total).sum(axis=1) - count  # sum over ordered pairs, a vector with itself left out
    return np.where(pairs > 0, 1 - cosine / np.maximum(pairs, 1), np.nan)


def serendipity(shown: Rows, hit: Mask, expected: Rows) -> Values:
    """(B,) share of a list that is relevant and not in the `expected` list (B, m), here popularity's own list of the
    same length (Ge et al. 2010)."""
    surprising = np.ones(shown.shape, np.bool_)
    for place in range(expected.shape[1]):
        surprising &= shown != expected[:, place, None]
    return _mean_shown(shown, (hit & surprising).astype(np.float64))


def age_days(shown: Rows, born: NDArray[np.int64], time: NDArray[np.int64]) -> Values:
    """(B,) timeliness: mean age in days of the shown items at `time` (B,); `born` (I,) microseconds, -1 = unknown."""
    start = born[np.maximum(shown, 0)]
    age = np.where(start >= 0, np.maximum(time[:, None] - start, 0) / DAY, np.nan)
    return _mean_shown(shown, age)


def exposure(shown: Rows, items: Mask) -> dict[str, float]:
    """How the places are spread over the `items` (I,) that may be shown, for all lists together.

    coverage = share shown at least once; gini = 0 when all are shown alike, towards 1 when one takes all; entropy in
    bits, of the share of places each item takes.
    """
    count = np.sort(np.bincount(shown[shown >= 0], minlength=len(items))[items]).astype(np.float64)
    n, total = len(count), count.sum()
    if not n or not total:
        return {"coverage": 0.0, "gini": float("nan"), "entropy": 0.0}
    share = count[count > 0] / total
    return {
        "coverage": float(np.count_nonzero(count) / n),
        "gini": float(((2 * np.arange(1, n + 1) - n - 1) * count).sum() / (n * total)),
        "entropy": float(-(share * np.log2(share)).sum()),
    }
