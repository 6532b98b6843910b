"""What weighted rows of a sparse matrix say about given candidates."""

from __future__ import annotations

from typing import Any

from shortlist import _kernels, ops
from shortlist.types import Candidates, Ragged, Rows, Scores


def sums(rows: Ragged, matrix: Ragged, width: int) -> Scores:
    """(B, width) the sum over the query's rows of weight * matrix[row], for every column."""
    said, spoken = (rows.ptr, rows["item"], rows["weight"]), (matrix.ptr, matrix["item"], matrix["score"])
    return _kernels.sum_of_spread(*said, *spoken, width)


def scores(rows: Ragged, matrix: Ragged, width: int, found: Candidates) -> Scores:
    """(N,) the sum over the query's rows of weight * matrix[row, item], all above 0; NaN where no row has the item."""
    return _kernels.sums_of_spread(*_question(rows, matrix, width, found))


def strongest(rows: Ragged, matrix: Ragged, width: int, found: Candidates) -> Rows:
    """(N,) the row ("item" of `rows`) with the largest part in the score, the last of equals; -1 = there is none."""
    return ops.gather(rows["item"], _kernels.strongest_of_spread(*_question(rows, matrix, width, found)), -1)


def _question(rows: Ragged, matrix: Ragged, width: int, found: Candidates) -> tuple[Any, ...]:
    said = rows.ptr, rows["item"], rows["weight"]
    spoken = matrix.ptr, matrix["item"], matrix["score"]
    return *said, *spoken, width, ops.pointers(found.query, len(rows)), found.item
