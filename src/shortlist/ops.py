"""The only segment arithmetic: sort, cut, merge, gather, rank, chance. NaN sinks, ties are stable, batch = singles.

A *segment* is the run of rows of one query in a flat table sorted by query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels
from shortlist.types import Candidates, Columns, Mask, Positions, Ragged, Rows, Scores, Vectors

LOWEST = float(np.finfo(np.float32).min)
TINY = float(np.finfo(np.float32).tiny)  # the least number above 0 that is full


def pointers(query: Rows, queries: int) -> NDArray[np.int64]:
    """(B + 1,) segment borders of a non-decreasing `query` column (N,)."""
    if queries == 1:
        return np.array((0, len(query)), np.int64)
    return np.searchsorted(query, np.arange(queries + 1)).astype(np.int64)


def gather(array: NDArray[Any], rows: NDArray[np.integer[Any]], fill: Any) -> NDArray[Any]:
    """array[rows], with `fill` where a row is negative or beyond the array."""
    if not len(array):
        return np.full((len(rows), *array.shape[1:]), fill, array.dtype)
    if not len(rows) or (rows.min() >= 0 and rows.max() < len(array)):
        kept: NDArray[Any] = array.take(rows, axis=0)
        return kept
    known = (rows >= 0) & (rows < len(array))
    found = array[np.where(known, rows, 0)]
    found[~known] = fill
    return found


def grouped(*columns: NDArray[np.integer[Any]]) -> tuple[Positions, Mask]:
    """Rows with equal `columns` (each (N,)) brought together, in rising order of the first column, then the next.

    Positions (N,) in that order, equal rows as they come, and for each place whether a group begins there.
    """
    key, room = np.zeros(len(columns[0]), np.int64), 1
    for column in columns if len(key) else ():
        least, most = int(column.min()), int(column.max())
        room *= most - least + 1
        if room >= 2**63:  # too wide for one number
            order = np.lexsort(columns[::-1])
            change = np.any([each[order][1:] != each[order][:-1] for each in columns], axis=0)
            return order, np.concatenate((np.ones(1, np.bool_), change))
        key *= most - least + 1
        key += column
        key -= least
    positions = _kernels.order(key)
    key = key[positions]
    begins = np.ones(len(key), np.bool_)
    np.not_equal(key[1:], key[:-1], out=begins[1:])
    return positions, begins


def stable_order(key: NDArray[np.integer[Any]]) -> Positions:
    """(N,) positions that put `key` in rising order, equal keys as they come."""
    return _kernels.order(key.astype(np.int64, copy=False))


def topk(query: Rows, score: Scores, k: int, queries: int) -> Positions:
    """Positions of the k best rows of each segment, best first; NaN last, ties by position.

    Shapes: query (N,) non-decreasing, score (N,); returns (M,) grouped by query.
    """
    return _kernels.topk(query, score, max(k, 0), queries)


def rank_within(query: Rows, score: Scores, queries: int) -> NDArray[np.float32]:
    """(N,) 1 for the best row of each segment, 2 for the next ...; NaN where the score is NaN. Ties by position."""
    order = topk(query, score, len(query), queries)
    rank = np.empty(len(query), np.float32)
    ptr = pointers(query, queries)
    rank[order] = np.arange(len(query)) - np.repeat(ptr[:-1], np.diff(ptr)) + 1
    rank[np.isnan(score)] = np.nan
    return rank


def standardize_within(query: Rows, score: Scores) -> Scores:
    """(C, N) each score less the mean of its segment, in standard deviations of the segment.

    NaN becomes the least of its segment; a segment of equal scores, or of none, is 0.
    """
    return _kernels.standardize(query, score)


def reciprocal_rank(
    query: Rows, columns: Mapping[str, Scores], queries: int, constant: float = 60, weights: Mapping[str, float] = {}
) -> Scores:
    """(N,) sum over columns of weight / (constant + rank within the query), 0 where NaN (Cormack et al., SIGIR 2009).

    A column that `weights` does not name weighs 1.
    """
    fused = np.zeros(len(query), np.float32)
    for name, column in columns.items():
        rank = rank_within(query, column, queries)
        fused += np.where(np.isnan(rank), 0, weights.get(name, 1.0) / (constant + rank)).astype(np.float32)
    return fused


def source_columns(columns: Columns) -> dict[str, Scores]:
    """The columns that sources left: all but "score" and features, whose names have a dot ("item.year")."""
    return {name: column for name, column in columns.items() if "." not in name and name != "score"}


def merge(parts: Mapping[str, Candidates], queries: int) -> Candidates:
    """One row per (query, item). Each source's "score" becomes a column of its name, NaN where it did not propose it.

    Rows are ordered by query, then by item row, so the result does not depend on the order of the sources.
    """
    given = [Candidates.empty(), *parts.values()]
    start = np.cumsum([len(part) for part in given])
    query, item, score = _kernels.merge(
        np.concatenate([part.query for part in given]),
        np.concatenate([part.item for part in given]),
        np.concatenate([part.columns["score"] for part in given]),
        start,
        queries,
    )
    return Candidates(query, item, dict(zip(parts, score, strict=True)))


def cap_per_group(query: Rows, group: Ragged, k: int, cap: int, queries: int) -> Positions:
    """Walk each segment in its present order and keep at most `cap` rows of each group, k rows in all.

    `group` gives for each row (N,) its list of group codes in column "code"; a row of several groups counts in each.
    """
    kept: list[int] = []
    ptr = pointers(query, queries)
    codes, start = group["code"].tolist(), group.ptr.tolist()
    for b in range(queries):
        seen: dict[int, int] = {}
        taken = 0
        for row in range(int(ptr[b]), int(ptr[b + 1])):
            if taken == k:
                break
            mine = codes[start[row] : start[row + 1]]
            if any(seen.get(code, 0) >= cap for code in mine):
                continue
            for code in mine:
                seen[code] = seen.get(code, 0) + 1
            kept.append(row)
            taken += 1
    return np.asarray(kept, np.intp)


def followed_by(first: Positions, rest: Positions, query: Rows, k: int, queries: int) -> Positions:
    """Within each query the rows of `first`, then those of `rest` that are not among them, at most k in all.

    Both are positions into `query` (N,), grouped by query; so is the answer.
    """
    fresh = np.ones(len(query), np.bool_)
    fresh[first] = False
    both = np.concatenate((first, rest[fresh[rest]]))
    both = both[np.argsort(query[both], kind="stable")]
    start = pointers(query[both], queries)[:-1]
    return both[np.arange(len(both)) - start[query[both]] < k]


def contains(lists: Ragged, query: Rows, item: Rows) -> Mask:
    """(N,) true where `item` occurs in list `query` of `lists` (column "item")."""
    return _kernels.contains(lists.ptr, lists["item"], query, item).view(np.bool_)


def permitted(query: Rows, item: Rows, exclude: Ragged, allowed: Mask) -> Mask:
    """(N,) true where a source may propose the row."""
    mask = ~contains(exclude, query, item)
    if len(allowed):
        mask &= gather(allowed, item, True)
    return mask


def top_of_matrix(
    scores: NDArray[np.float32], k: int, exclude: Ragged, allowed: Mask, least: float = LOWEST
) -> Candidates:
    """The k best items of each row of `scores` (B, I), best first, ties by item row; none below `least`, never NaN.

    Honours `exclude` and `allowed`, as every kernel here does.
    """
    query, item, score = _kernels.top_of_matrix(scores, k, exclude.ptr, exclude["item"], allowed, least)
    return Candidates(query, item, {"score": score})


def top_of_product(user: Vectors, item: Vectors, k: int, exclude: Ragged, allowed: Mask) -> Candidates:
    """The k items (I, D) with the largest inner product with each user (B, D), best first, ties by item row.

    Exact, honours `exclude` and `allowed`; a user vector of zeros has no opinion and gets nothing.
    """
    found = _kernels.top_of_product(user, item, k, exclude.ptr, exclude["item"], allowed)
    return Candidates(found[0], found[1], {"score": found[2]})


def top_of_spread(rows: Ragged, matrix: Ragged, width: int, k: int, exclude: Ragged, allowed: Mask) -> Candidates:
    """The k largest columns, above 0, of each query's sum of weighted rows of a sparse matrix, ties by column.

    `rows`: B lists of matrix rows "item" and their "weight"; `matrix`: a list of columns "item" and "score" for each of
    its rows, all below `width`. Rows that the matrix does not have say nothing.
    """
    found = _kernels.top_of_spread(
        rows.ptr,
        rows["item"],
        rows["weight"],
        matrix.ptr,
        matrix["item"],
        matrix["score"],
        width,
        k,
        exclude.ptr,
        exclude["item"],
        allowed,
    )
    return Candidates(found[0], found[1], {"score": found[2]})


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): 64 well-stirred bits of each 64-bit number."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def chance(seed: NDArray[np.uint64], item: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
    """(N,) uniform in [0, 1) from a query's seed and an item: no state, so the order of asking never matters."""
    stirred = mix(mix(seed.astype(np.uint64) + _GOLDEN) + item.astype(np.int64).view(np.uint64) * _GOLDEN)
    uniform: NDArray[np.float64] = (stirred >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def event_ids(
    user: Rows, item: Rows, kind: NDArray[np.uint8], value: Scores, time: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """(E, 2) ids for events that came without one: equal facts, equal id, so that loading twice adds nothing twice."""
    pair = (user.astype(np.int64).view(np.uint64) << np.uint64(32)) | item.astype(np.uint32).astype(np.uint64)
    rest = (value.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(8)) | kind.astype(np.uint64)
    moment = time.astype(np.int64).view(np.uint64)
    first = mix(mix(mix(pair + _GOLDEN) ^ moment) + rest)
    second = mix(mix(mix(moment + _GOLDEN) ^ rest) + pair)
    return np.stack((first, second), axis=1)


def decay(age: NDArray[Any], half_life: float) -> NDArray[np.float64]:
    """0.5 ** (age / half_life), ages below 0 counted as 0; both in the same unit."""
    share: NDArray[np.float64] = np.exp2(-np.maximum(age, 0) / half_life)
    return share


def liked(history: Ragged, half_life: float, width: int) -> Ragged:
    """The rows of a history that speak for an item below `width`: columns "item" and "weight".

    A row's weight is halved every `half_life` liked rows, counted from the newest, which keeps its weight; rows of
    weight <= 0 say nothing and age nobody; `half_life` 0 or infinite means no decay. Rows more than 20 half-lives old
    are left out: they weigh less than float32 rounds off.
    """
    ptr, item, weight = _kernels.liked(history.ptr, history["item"], history["weight"], half_life, width)
    return Ragged(ptr, {"item": item, "weight": weight})


def strongest(history: Ragged, said: Scores) -> Rows:
    """(B,) the item of each list whose `said` (H,) is greatest and positive, the newest of equals; -1 when none is."""
    named = np.full(len(history), -1, np.int32)
    filled = history.length > 0
    last = np.lexsort((said, history.owner))[history.ptr[1:][filled] - 1]
    named[filled] = np.where(said[last] > 0, history["item"][last], -1)
    return named


def nearest_liked(liked: Ragged, near: Vectors, query: Rows, shown: Vectors, weight: Scores | float = 1.0) -> Rows:
    """(N,) for each row the liking of its query whose `weight` times the cosine of both vectors is largest, the newest
    of equals; -1 where none is above 0.

    Shapes: `liked` B lists of "item", their vectors `near` (H, D), `weight` (H,); query (N,), the rows' `shown` (N, D).
    """
    count = liked.length[query]
    row = np.repeat(np.arange(len(query), dtype=np.int32), count)
    back = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    entry = (liked.ptr[1:][query][row] - 1 - back).astype(np.int32)  # each row's likings, the newest first
    share = np.asarray(weight, np.float32) / np.maximum(np.sqrt(np.einsum("hd,hd->h", near, near)), TINY)
    said = _kernels.products(np.ascontiguousarray(near), np.ascontiguousarray(shown), entry, row) * share[entry]
    best = topk(row, said, 1, len(query))
    best = best[said[best] > 0]
    named = np.full(len(query), -1, np.int32)
    named[row[best]] = liked["item"][entry[best]]
    return named
