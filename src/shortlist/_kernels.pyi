"""Compiled kernels (src/kernels). Exact; every list is best first, ties by item row; the GIL is released.

B queries, I items, D dimensions. `threads` 0 means every core; fewer than 64 queries never leave the calling thread.
Wrong shapes raise ValueError. Results are flat: (row, item, score), each (N,), rows in order.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int32]
Pointers: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Words: TypeAlias = NDArray[np.uint64]
Flat: TypeAlias = tuple[Ints, Ints, Floats]

def top_of_matrix(
    scores: Floats,
    k: int,
    exclude_ptr: Pointers,
    exclude_item: Ints,
    allowed: Bools,
    least: float = ...,
    threads: int = 0,
) -> Flat:
    """The k largest of each row of `scores` (B, I), none below `least`, no -inf, no NaN, nothing excluded."""

def entries(matrix: Floats, row: Ints, column: Ints, least: float = ...) -> Floats:
    """(N,) matrix[row, column]; NaN where the matrix has no such column, or holds less than `least` there."""

def top_of_product(
    users: Floats,
    items: Floats,
    k: int,
    exclude_ptr: Pointers,
    exclude_item: Ints,
    allowed: Bools,
    threads: int = 0,
) -> Flat:
    """The k items with the largest inner product, `users` (B, D), `items` (I, D); a user of zeros has no opinion.

    The lists of items to leave out are per query; `allowed` (A,) is by item row, rows beyond it are allowed.
    """

def products(users: Floats, items: Floats, query: Ints, item: Ints) -> Floats:
    """(N,) the inner product of users[query] and items[item]; NaN for a user of zeros and an item out of range."""

def top_of_spread(
    query_ptr: Pointers,
    query_row: Ints,
    query_weight: Floats,
    ptr: Pointers,
    index: Ints,
    value: Floats,
    width: int,
    k: int,
    exclude_ptr: Pointers,
    exclude_item: Ints,
    allowed: Bools,
    threads: int = 0,
) -> Flat:
    """The k largest columns of sum over a query's rows of weight * matrix[row], those above 0 only.

    The matrix (ptr, index, value), `width` columns; rows outside it are passed over. Its indices are not checked.
    """

def sum_of_spread(
    query_ptr: Pointers,
    query_row: Ints,
    query_weight: Floats,
    ptr: Pointers,
    index: Ints,
    value: Floats,
    width: int,
    threads: int = 0,
) -> Floats:
    """(B, width) what `top_of_spread` ranks by."""

def sums_of_spread(
    query_ptr: Pointers,
    query_row: Ints,
    query_weight: Floats,
    ptr: Pointers,
    index: Ints,
    value: Floats,
    width: int,
    wanted_ptr: Pointers,
    wanted: Ints,
    threads: int = 0,
) -> Floats:
    """(N,) what `top_of_spread` ranks by, at the wanted columns of each query; NaN where it is not above 0."""

def strongest_of_spread(
    query_ptr: Pointers,
    query_row: Ints,
    query_weight: Floats,
    ptr: Pointers,
    index: Ints,
    value: Floats,
    width: int,
    wanted_ptr: Pointers,
    wanted: Ints,
    threads: int = 0,
) -> Pointers:
    """(N,) which entry of the query's rows has the largest part above 0 in that sum, the last of equals; -1 = none."""

def upper_product(
    left_ptr: Pointers,
    left_index: Ints,
    left_value: Floats,
    right_ptr: Pointers,
    right_index: Ints,
    right_value: Floats,
    width: int,
    threads: int = 0,
) -> Floats:
    """(R, width) left @ right of two sparse matrices, from each row's diagonal on; below it zeros."""

def neighbours(
    left_ptr: Pointers,
    left_index: Ints,
    left_value: Floats,
    right_ptr: Pointers,
    right_index: Ints,
    right_value: Floats,
    row_norm: Floats,
    column_norm: Floats,
    shrink: float,
    k: int,
    threads: int = 0,
) -> Flat:
    """For each row i the k largest positive (left @ right)[i, j] / (row_norm[i] * column_norm[j] + shrink), j != i."""

def elastic_net(gram: Floats, l1: float, l2: float, sweeps: int, tolerance: float, threads: int = 0) -> Flat:
    """For each item j the w >= 0, w_j = 0, with the least w'Gw / 2 - g_j'w + l2 |w|^2 / 2 + l1 sum w: (j, i, w_i > 0).

    `gram` (S, S) symmetric. Coordinate descent; a weight stays when its effect w_i G_ii would move by no more than
    `tolerance` of G_jj; a column is done when all stay, at the latest after `sweeps`. Columns in order, the items of
    each ascending.
    """

def least_squares(
    x: Floats,
    other: Floats,
    ptr: Pointers,
    index: Ints,
    weight: Floats,
    target: Floats,
    gram: Floats,
    reg: Floats,
    steps: int,
    threads: int = 0,
) -> None:
    """In place, each row of `x` (R, D): (gram + sum weight y y' + reg I) x = sum target y over the row's entries.

    y is a row of `other`; D is a multiple of 16. `steps` 0: Cholesky; else so many conjugate-gradient steps from the
    present x. Rows without entries become 0.
    """

def gram(vectors: Floats, threads: int = 0) -> Floats:
    """(D, D) vectors' vectors, `vectors` (R, D), D a multiple of 16; the same for any number of threads."""

def pairwise_epoch(
    user: Floats,
    item: Floats,
    ptr: Pointers,
    index: Ints,
    weight: Floats,
    pool: Ints,
    bias: int,
    trials: int,
    rate: float,
    reg: float,
    seed: int,
    threads: int = 0,
) -> None:
    """In place, as many steps as there are likings, each for one drawn by its weight (above 0), against an item drawn
    from `pool`: `user` (U, D) and `item` (I, D) move so that the liking scores higher. See models.pairwise.

    D is a multiple of 16; column `bias` of `user` is 1. `trials` 0: BPR; else WARP with so many draws for a violation.
    The same seed gives the same vectors with one thread; more overwrite one another now and then (Hogwild).
    """

def pairwise_fold(
    item: Floats,
    ptr: Pointers,
    index: Ints,
    weight: Floats,
    pool: Ints,
    bias: int,
    trials: int,
    rate: float,
    reg: float,
    steps: int,
    seed: int,
) -> Floats:
    """(B, D) vectors of people by `steps` such steps each, from nothing, the items as they are; zeros without likings.

    Nobody's vector depends on who else is asked for.
    """

def rating_epoch(
    user: Floats,
    item: Floats,
    implied: Floats,
    drift: Floats,
    ptr: Pointers,
    index: Ints,
    value: Floats,
    since: Floats,
    slot: Ints,
    slot_bias: Floats,
    slot_reg: Floats,
    factors: int,
    rate: float,
    reg: float,
    reg_bias: float,
    reg_drift: float,
    seed: int,
) -> None:
    """In place, one pass of stochastic descent over everybody's ratings, people in an order drawn from `seed`.

    rating = q[K] + p[K + 1] + since * a[K + 1] + slot_bias[slot] + q . (p + sum y / sqrt(n) + since * a), where q, p, y
    and a are rows of `item` (I, D), `user` (U, D), `implied` (I, D) and `drift` (U, D), K = `factors`, D >= K + 2
    and a multiple of 8. `implied`, `drift` with `since` (E,), and `slot` (E,) may be empty: then that part is left out.
    Each rating adds the squares of what it touches to the objective, times `reg`, `reg_bias`, `reg_drift` (a), or
    `slot_reg` of its slot.
    """

def gibbs_factor(
    residual: Floats,
    own: Ints,
    other: Ints,
    precision: Floats,
    x: Floats,
    ptr: Pointers,
    row: Ints,
    value: Floats,
    weight: Floats,
    total: Floats,
    prior: Floats,
    prior_precision: Floats,
    seed: int,
) -> None:
    """In place, a draw of `weight` (F,), each given all others: a part of rating n is x[other] * total[own], where
    total (R,) is the sum of value * weight over the owner's features.

    The features are columns of a sparse matrix: (ptr, row, value), for each of F the owners that have it. `residual`
    (E,) is what is left of the ratings, `precision` (E,) of their noise; both it and `total` follow the draw.
    """

def order(key: Pointers) -> Pointers:
    """(N,) positions that put `key` in rising order, equal keys as they come: np.argsort(kind="stable") by digits."""

class IdSet:
    """A set of 128-bit ids (E, 2): exact, 23 to 46 bytes an id. One thread at a time."""

    def __len__(self) -> int: ...
    def fresh(self, id: Words) -> Bools:
        """(E,) true for the first of each id that is not in the set."""

    def add(self, id: Words) -> None:
        """Take ids in."""

    def discard(self, id: Words) -> None:
        """Forget ids."""

class IdRows:
    """A row for each of many 128-bit ids (E, 2). One thread at a time."""

    def __len__(self) -> int: ...
    def find(self, id: Words) -> Ints:
        """(E,) the row of each id, -1 for those that have none."""

    def add(self, id: Words, row: Ints) -> None:
        """Give rows (E,) to ids; one that has a row keeps it."""

def variants() -> list[str]:
    """The instruction sets this machine can run, the one in use last unless `use` was called."""

def use(name: str) -> str:
    """Switch the instruction set (tests, benchmarks); returns the one used before."""

def nearest_codes(code: Words, asked: Words, count: int, open: Bools) -> Pointers:
    """(B, count) places of the codes (N, W) that differ from each of `asked` (B, W) in the fewest bits, ties by place.

    In order of place, -1 after the last; only where `open` (N,) is true, unless it is empty. `count` is N at most.
    """

def top_of_places(asked: Floats, held: Floats, place: Pointers, k: int) -> tuple[Pointers, Floats]:
    """(B, k) places, and inner products, of the k best of `place` (B, M) for each of `asked` (B, D), in `held` (N, D).

    Best first, ties by column of `place`; -1 and NaN after the last. Places outside `held` are passed over.
    """

def sum_of_rows(query_ptr: Pointers, query_row: Ints, query_weight: Floats, matrix: Floats, threads: int = 0) -> Floats:
    """(B, I) the sum over a query's rows of weight * matrix[row], `matrix` (H, I); rows outside it are passed over."""

def strongest_of_squares(
    other: Floats,
    ptr: Pointers,
    index: Ints,
    weight: Floats,
    gram: Floats,
    reg: Floats,
    wanted_ptr: Pointers,
    wanted: Ints,
    threads: int = 0,
) -> Pointers:
    """(N,) the entry with the largest weight * other[entry]' A^-1 other[wanted] above 0, the last of equals; or -1.

    A is the matrix of the system that `least_squares` solves for the row.
    """

def strongest_of_rows(
    query_ptr: Pointers,
    query_row: Ints,
    query_weight: Floats,
    matrix: Floats,
    wanted_ptr: Pointers,
    wanted: Ints,
    threads: int = 0,
) -> Pointers:
    """(N,) the entry of the query with the largest weight * matrix[row, wanted] above 0, the last of equals; or -1."""

def liked(ptr: Pointers, item: Ints, weight: Floats, half_life: float, width: int) -> tuple[Pointers, Ints, Floats]:
    """(ptr, item, weight) of what speaks for an item below `width`, see ops.liked."""

def weigh(
    owner: Ints, item: Ints, kind: NDArray[np.uint8], value: Floats, weight: Floats, least: Floats, cap: Pointers
) -> Floats:
    """(E,) what each event says of its item, see dataset.Kinds.weigh; `weight`, `least`, `cap` by kind (256,)."""

def merge(query: Ints, item: Ints, score: Floats, start: Pointers, queries: int) -> tuple[Ints, Ints, Floats]:
    """(query, item, score (P, N)) of P parts, part p from row start[p] on, see ops.merge."""

def contains(ptr: Pointers, listed: Ints, query: Ints, item: Ints) -> NDArray[np.uint8]:
    """(N,) 1 where list `query` holds `item`; -1 is in no list."""

def topk(query: Ints, score: Floats, k: int, queries: int) -> Pointers:
    """Positions of the k best of each run of equal queries, see ops.topk."""

def standardize(query: Ints, value: Floats) -> Floats:
    """(C, N) z-scores within each query's rows, see ops.standardize_within."""

def first_permitted(
    item: Ints, start: Pointers, k: int, exclude_ptr: Pointers, exclude_item: Ints, allowed: Bools
) -> tuple[Ints, Pointers]:
    """(query, place in `item`) of the first k from place start[b] on that query b may be shown."""

def diversify(
    vector: Floats, ptr: Pointers, item: Ints, score: Floats, trade: Floats, places: int
) -> tuple[Pointers, Pointers]:
    """(ptr, position) of at most `places` rows of each list by maximal marginal relevance, see rerank.mmr.

    `vector` (I, D) of length 1 or 0, `trade` by list; positions into `item`, in the order they are chosen.
    """

def item_graph(
    ptr: Pointers,
    item: Ints,
    width: int,
    reach: int,
    sampled: bool,
    seed: int,
    threads: int = 0,
    progress: Callable[[float], object] | None = None,
) -> tuple[Pointers, Ints, Floats]:
    """(ptr, item, weight) of the symmetric graph of what stands together in a list, each row rising.

    A place is joined to `reach` places on either side; `sampled`: of its list shuffled and closed to a ring, each pair
    weighing so much that the sum is expected to be that of all pairs, and exactly all where a list has 2 * reach + 1
    places or fewer. The same for any number of threads. `progress` is told the share done, from the calling thread.
    """

def random_walks(
    ptr: Pointers,
    index: Ints,
    weight: Floats,
    walks: int,
    length: int,
    p: float,
    q: float,
    seed: int,
    threads: int = 0,
    progress: Callable[[float], object] | None = None,
) -> Ints:
    """(walks, length) nodes; a walk starts at a node by its strength, goes on by weight, and by node2vec's p and q.

    No walks where there are no edges. The same for any number of threads.
    """

def skip_gram(
    input: Floats,
    output: Floats,
    ptr: Pointers,
    item: Ints,
    noise: Floats,
    keep: Floats,
    window: int,
    negatives: int,
    epochs: int,
    rate: float,
    seed: int,
    threads: int = 0,
    progress: Callable[[float], object] | None = None,
) -> None:
    """Skip-gram with negative sampling, in place, `input` and `output` (I, D), D a multiple of 16.

    Noise is drawn by `noise` (I,), an occurrence counts with the chance `keep` (I,). One thread repeats exactly.
    """

def dense(x: Floats, weight: Floats, start: Floats, owner: Ints, relu: bool = False, threads: int = 0) -> Floats:
    """(N, M) start[owner] + x (N, K) @ weight (K, M); `owner` (N,) rows of `start` (S, M), empty = its only row.

    Summed over the inputs in order: a row has the same bits in any batch, and when `start` holds its first inputs' sum.
    """

def cross(
    x: Floats, weight: Floats, start: Floats, owner: Ints, times: Floats, plus: Floats, threads: int = 0
) -> Floats:
    """(N, M) plus + times * (start[owner] + x @ weight), as `dense`."""

class Forest:
    """Boosted trees. Node n reads `column` and sends a row to below[n, 0] when it holds at most the threshold, else to
    below[n, 1]; one without a value (NaN) goes to below[n, 0] where `nothing_left` says so.

    A number below 0 is the leaf ~number; children come after their parents; `root` (T,) is where each tree begins.
    `cover` (M,) and `leaf_cover` (L,) say how much was learned from at each node and leaf, above 0.
    """

    def __init__(
        self,
        root: Ints,
        column: Ints,
        threshold: Floats,
        below: Ints,
        nothing_left: Bools,
        leaf: NDArray[np.float64],
        cover: NDArray[np.float64],
        leaf_cover: NDArray[np.float64],
    ) -> None: ...
    def sums(self, value: Floats, threads: int = 1) -> NDArray[np.float64]:
        """(N,) the sum of the leaves that each row of `value` (N, F) ends in."""

    def parts(self, value: Floats) -> NDArray[np.float64]:
        """(N, F + 1) what each column adds to that sum, and last what is expected of any row (TreeSHAP, Lundberg
        et al., Nature Machine Intelligence 2020)."""
