"""What weighted rows of a sparse matrix say about given candidates, entry by entry."""

from __future__ import annotations

import numpy as np

from shortlist.types import Candidates, Positions, Ragged, Rows, Scores


def scores(rows: Ragged, matrix: Ragged, found: Candidates) -> Scores:
    """(N,) the sum over the query's rows of weight * matrix[row, item]; NaN where no row has the item."""
    position, _, amount, inverse = _entries(rows, matrix, found)
    distinct = int(inverse.max(initial=-1)) + 1
    total = np.bincount(position, amount, distinct).astype(np.float32)
    total[np.bincount(position, minlength=distinct) == 0] = np.nan
    return total[inverse]


def strongest(rows: Ragged, matrix: Ragged, found: Candidates) -> Rows:
    """(N,) the row ("item" of `rows`) with the largest part in the score, the last of equals; -1 = there is none."""
    position, row, amount, inverse = _entries(rows, matrix, found)
    best = np.full(int(inverse.max(initial=-1)) + 1, -1, np.int32)
    order = np.lexsort((row, amount, position))
    best[position[order]] = rows["item"][row[order]]  # of equal positions the last assignment holds
    return best[inverse]


def _entries(rows: Ragged, matrix: Ragged, found: Candidates) -> tuple[Positions, Positions, Scores, Positions]:
    """Every matrix entry that speaks of a candidate: which distinct candidate, by which row, how much; and for each
    candidate (N,) which distinct one it is."""
    reach = matrix.take(rows["item"])
    row = reach.owner.astype(np.intp)
    key = (rows.owner[row].astype(np.int64) << 32) | reach["item"]
    wanted, inverse = np.unique((found.query.astype(np.int64) << 32) | found.item, return_inverse=True)
    position = np.searchsorted(wanted, key)
    position[position == len(wanted)] = 0
    hit = np.flatnonzero(wanted[position] == key) if len(wanted) else np.empty(0, np.intp)
    amount: Scores = rows["weight"][row[hit]] * reach["score"][hit]
    return position[hit], row[hit], amount, inverse
