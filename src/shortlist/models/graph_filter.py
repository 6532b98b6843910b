"""A filter on the graph of people and items as a model, in factored form: it never holds an item-item matrix.

R̃ = D_U^-a R D_I^-½ are the likings normalised on both sides and divided by the largest singular value, P = R̃'R̃ is the
smoothest filter that they give (a step from item to person to item). A history r gets (r P + r L) Q(P) D_I^c: a step,
a low-pass of the leading singular vectors beside it, and a polynomial that sharpens or leaves as it is. The papers take
a = ½, c = 0 and the ideal low-pass, to which all its vectors are one. With less of a people of many likings say more,
with more of c items of many likings come first, and with a roll-off b a vector of singular value s counts s^2b.

For E likings, I items and D singular vectors it holds 8 E + 8 D I bytes, and a query costs 4 E operations for each
power of P and 2 D I for the vectors: milliseconds for each million likings, whatever the number of items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.dataset import rows_of
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores, Vectors

MANY = 32  # queries at once
DEPENDENT = 0.03  # of the largest pivot: below it float32 products say too little of a column


@dataclass(frozen=True, slots=True)
class GraphFilter:
    """Filters what a person likes; an item without likings gets no score."""

    liking: Ragged  # U lists of "item" and "score": R̃
    known: Mask  # (I,) true for items that somebody liked
    into: Vectors  # (I, D) singular vectors, scaled for what goes in
    out: Vectors  # (I, D) the same, scaled for what comes out
    scale: Scores  # (I,) what the score of each item is multiplied by
    polynomial: Scores  # (Q,) coefficients of Q, of P to the power of 0 first
    half_life: float

    def __post_init__(self) -> None:
        self.liking.check_items(len(self.known))

    def recall(self, queries: Queries, k: int) -> Candidates:
        score = self._predict(queries)
        return ops.top_of_matrix(score, k, queries.exclude, queries.allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        score = self._predict(queries)
        inside = (found.item >= 0) & (found.item < len(self.known))
        out = np.full(len(found), np.nan, np.float32)
        out[inside] = score[found.query[inside], found.item[inside]]
        out[np.isneginf(out)] = np.nan
        return out

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """Each liking is filtered by itself: the filter is linear."""
        liked = self._liked(queries)
        why = np.full(len(found), -1, np.int32)
        for b in np.unique(found.query):
            rows = slice(int(liked.ptr[b]), int(liked.ptr[b + 1]))
            mine = np.flatnonzero(found.query == b)
            if rows.start == rows.stop:
                continue
            each = np.arange(rows.stop - rows.start + 1, dtype=np.int64)
            alone = Ragged(each, {"item": liked["item"][rows], "weight": liked["weight"][rows]})
            part = ops.gather(np.ascontiguousarray(self._filtered(alone).T), found.item[mine], 0)  # (M, likings)
            newest = part.shape[1] - 1 - np.argmax(part[:, ::-1], axis=1)
            why[mine] = np.where(part.max(axis=1) > 0, liked["item"][rows][newest], -1)
        return why

    def _predict(self, queries: Queries) -> Scores:
        """(B, I) what the filter says; -inf for items nobody liked and for people who like nothing known."""
        return queries.once(self, "predict", lambda: self._said(self._liked(queries)))

    def _said(self, liked: Ragged) -> Scores:
        score = self._filtered(liked)
        score[:, ~self.known] = -np.inf
        score[liked.length == 0] = -np.inf
        return score

    def _filtered(self, liked: Ragged) -> Scores:
        """(B, I) the lists after the filter."""
        width = len(self.known)
        through = self._through(len(liked))
        history = csr_array((liked["weight"], liked["item"], liked.ptr), (len(liked), width)).T.toarray()  # (I, B)
        power = through(history)
        if self.into.shape[1]:
            inside = _kernels.sum_of_rows(liked.ptr, liked["item"], liked["weight"], self.into)
            power += self.out @ inside.T
        total = self.polynomial[0] * power
        for coefficient in self.polynomial[1:]:
            power = through(power)
            total += coefficient * power
        total *= self.scale[:, None]
        return np.ascontiguousarray(total.T)

    def _through(self, queries: int) -> Callable[[Vectors], Vectors]:
        """P, applied to a block (I, B). Many queries at once are worth turning the likings round for: then both halves
        run by our kernel, on every core."""
        matrix = csr_array(
            (self.liking["score"], self.liking["item"], self.liking.ptr), (len(self.liking), len(self.known))
        )
        if queries < MANY:
            return lambda block: matrix.T @ (matrix @ block)
        back = rows_of(matrix.T.tocsr())
        return lambda block: _product(back, _product(self.liking, block))

    def _liked(self, queries: Queries) -> Ragged:
        """The likings of items that somebody liked in training: the others pass through no filter."""
        liked = ops.liked(queries.history, self.half_life, len(self.known))
        return liked.where(self.known[liked["item"]])


def normalised(matrix: csr_array, user_power: float) -> csr_array:
    """R̃ before its largest singular value is known: each liking divided by the root of the likings of its item, and by
    those of its person to the power of `user_power`."""
    user, item = (np.asarray(matrix.sum(axis=axis)) for axis in (1, 0))
    scale = np.repeat(user**user_power, np.diff(matrix.indptr)) * np.sqrt(item[matrix.indices])
    return csr_array(((matrix.data / scale).astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)


def low_pass(item: Scores, vector: Vectors, weight: Scores) -> tuple[Vectors, Vectors]:
    """(into, out), (I, D) each: D_I^-½ V W V' D_I^½ for the singular vectors V (I, D), `weight` W (D,) of each and the
    likings of every item, `item` (I,)."""
    root = np.sqrt(item)
    into = weight * vector / np.maximum(root, np.finfo(np.float32).tiny)[:, None] * (item > 0)[:, None]
    return into.astype(np.float32), np.ascontiguousarray(vector * root[:, None])


def singular_vectors(
    matrix: csr_array, factors: int, seed: int, room: int = 32, rounds: int = 8
) -> tuple[Vectors, Scores]:
    """(I, D) the leading right singular vectors and (D,) their values, D = `factors` or as many as there are.

    Subspace iteration from a random start with `room` to spare (Halko, Martinsson, Tropp, SIAM Review 2011).
    """
    size = min(factors + room, *matrix.shape)
    block = np.random.default_rng(seed).standard_normal((matrix.shape[1], size), np.float32)
    lists, back = rows_of(matrix), rows_of(matrix.T.tocsr())
    for _ in range(rounds):
        block = _orthonormal(_product(back, _product(lists, block)))[0]
    _, value, turn = np.linalg.svd(_orthonormal(_product(lists, block))[1])
    return np.ascontiguousarray((block @ turn.T)[:, :factors], np.float32), value[:factors].astype(np.float32)


def _product(lists: Ragged, block: Vectors) -> Vectors:
    """(B, D) the matrix of `lists`, B of "item" and "score", times `block` (I, D)."""
    return _kernels.sum_of_rows(lists.ptr, lists["item"], lists["score"], block)


def _orthonormal(block: Vectors) -> tuple[Vectors, Vectors]:
    """Q (N, D) and R (D, D), upper triangular, with block = Q R.

    Cholesky's factor of the products gives R in a tenth of the time of Householder's reflections, but squares what
    tells the columns apart: where they are nearly dependent, the latter.
    """
    product = (block.T @ block).astype(np.float64)
    try:
        upper = np.linalg.cholesky(product).T
    except np.linalg.LinAlgError:
        return np.linalg.qr(block)
    pivot = np.diag(upper)
    if not pivot.min(initial=np.inf) > DEPENDENT * pivot.max(initial=0):
        return np.linalg.qr(block)
    inverse = solve_triangular(upper, np.eye(len(upper)))
    return block @ inverse.astype(np.float32), upper.astype(np.float32)


def filter_of(
    matrix: csr_array,
    *,
    factors: int,
    strength: float,
    rolloff: float,
    polynomial: Scores,
    user_power: float,
    item_power: float,
    half_life: float,
    seed: int,
) -> GraphFilter:
    """The filter with these singular vectors and this polynomial, of a matrix of likings (U, I)."""
    filtered = normalised(matrix, user_power)
    vector, value = singular_vectors(filtered, factors, seed)
    largest = value[:1].max(initial=0) or np.float32(1)
    filtered.data /= largest
    item = np.asarray(matrix.sum(axis=0), np.float32)
    into, out = low_pass(item, vector, np.float32(strength) * (value / largest) ** np.float32(2 * rolloff))
    known = np.bincount(matrix.indices, minlength=matrix.shape[1]) > 0
    scale = np.where(known, item, 1).astype(np.float32) ** np.float32(item_power)
    return GraphFilter(rows_of(filtered), known, into, out, scale, polynomial, half_life)
