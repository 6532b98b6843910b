"""item2vec: vectors of items that keep the same company, learned by skip-gram with negative sampling.

From lists of what each person liked (Barkan, Koenigstein, MLSP 2016), or from random walks on the weighted graph of
what stands together in them (DeepWalk: Perozzi et al., KDD 2014; node2vec: Grover, Leskovec, KDD 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores, Vectors

LANES = 16  # the kernels want vectors padded with zeros to a multiple of this
Progress = Callable[[float], object]  # told the share that is done


@dataclass(frozen=True, slots=True)
class Item2Vec:
    """Item vectors by who stands near whom; a person is the mean of what they like, the newest counting most.

    The graph never takes more than 2 * `partners` pairs for a liking. `pairs` = "sampled": drawn from the whole list,
    each weighted for those not drawn; "window": the neighbours in time. One thread and one seed repeat exactly.
    """

    learn: str = "walks"  # walks | lists: from walks on the graph of items, or from the lists themselves
    pairs: str = "sampled"  # sampled | window: which two of a list are joined in the graph
    partners: int = 25  # on either side; a list of 2 * partners + 1 likings or fewer gives all its pairs
    walks: int = 20  # for each item, on average: they start where the graph is heavy
    length: int = 10  # of a walk, in items
    p: float = 1.0  # of node2vec: larger, and a walk goes back to where it came from less; p = q = 1 is DeepWalk
    q: float = 1.0  # of node2vec: larger, and a walk stays nearer to where it came from
    factors: int = 64
    window: int = 5  # items on either side that an item is learned from
    negatives: int = 5  # noise items for each item
    exponent: float = 0.75  # of an item's frequency among the noise
    sample: float = 0.0  # items more frequent than this share are passed over now and then, as in word2vec; 0 = never
    epochs: int = 3
    rate: float = 0.025  # of learning, at the start
    half_life: float = 0.0  # of a liking at recommendation time, in liked items; 0 = the order does not matter
    threads: int = 1  # 0 = every core: faster, but no two runs are the same

    def __post_init__(self) -> None:
        for name, allowed in (("learn", ("walks", "lists")), ("pairs", ("sampled", "window"))):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}, but must be one of {', '.join(allowed)}",
                    where="models.item2vec",
                )
        for name in ("partners", "walks", "length", "p", "q", "factors", "window", "negatives", "epochs", "rate"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be above 0", where="models.item2vec")

    def fit(self, data: Dataset, *, seed: int) -> Item2VecModel:
        liked = data.sequences.where(data.sequences["weight"] > 0)
        lists = Ragged(liked.ptr, {"item": liked["item"]})
        vectors = self.vectors(
            lists if self.learn == "lists" else self.walk(lists, data.n_items, seed), data.n_items, seed
        )
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return Item2VecModel(vectors / np.maximum(length, 1e-12), self.half_life)

    def graph(self, lists: Ragged, width: int, seed: int, progress: Progress | None = None) -> Ragged:
        """`width` lists of "item" and "weight": the neighbours of each item in the symmetric graph, rising."""
        ptr, item, weight = _kernels.item_graph(
            lists.ptr, lists["item"], width, self.partners, self.pairs == "sampled", seed, self.threads, progress
        )
        return Ragged(ptr, {"item": item, "weight": weight})

    def walk(self, lists: Ragged, width: int, seed: int, progress: Progress | None = None) -> Ragged:
        """Walks on the graph of `lists`, as lists of "item"."""
        graph = self.graph(lists, width, seed)
        count = self.walks * int(np.count_nonzero(graph.length))
        walks = _kernels.random_walks(
            graph.ptr, graph["item"], graph["weight"], count, self.length, self.p, self.q, seed, self.threads, progress
        )
        return Ragged(np.arange(len(walks) + 1, dtype=np.int64) * self.length, {"item": walks.ravel()})

    def vectors(self, lists: Ragged, width: int, seed: int, progress: Progress | None = None) -> Vectors:
        """(width, D) vectors of the items of `lists`; a row of zeros for an item that is in none.

        Each is the sum of the item's two vectors, as the one that tells and as the one told: their cosine then knows
        both who keeps the same company and who keeps company with whom.
        """
        chance = np.random.default_rng(seed)
        count = np.bincount(lists["item"], minlength=width)
        near = np.zeros((width, -(-self.factors // LANES) * LANES), np.float32)
        near[:, : self.factors] = (chance.random((width, self.factors)) - 0.5) / self.factors
        told = np.zeros_like(near)
        _kernels.skip_gram(
            near,
            told,
            lists.ptr,
            lists["item"],
            (count**self.exponent).astype(np.float32),
            self._keep(count),
            self.window,
            self.negatives,
            self.epochs,
            self.rate,
            seed,
            self.threads,
            progress,
        )
        vectors = near + told
        vectors[count == 0] = 0
        return vectors

    def _keep(self, count: NDArray[np.intp]) -> NDArray[np.float32]:
        """(I,) the chance of an occurrence to be learned from."""
        if not self.sample:
            return np.ones(len(count), np.float32)
        share = self.sample * count.sum() / np.maximum(count, 1)
        return np.asarray(np.minimum(np.sqrt(share) + share, 1), np.float32)


@dataclass(frozen=True)
class Item2VecModel:
    """The cosine of an item with the weighted mean of what a person likes."""

    item: Vectors  # (I, D) of length 1, a row of zeros for an item that nobody liked
    half_life: float

    def recall(self, queries: Queries, k: int) -> Candidates:
        known = queries.with_allowed(self._known)
        return ops.top_of_product(self._user(queries), self.item, k, known.exclude, known.allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        score = _kernels.products(self._user(queries), self.item, found.query, found.item)
        return np.where(ops.gather(self._known, found.item, False), score, np.float32(np.nan))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking with the largest part of the score: its weight times its cosine with the item."""
        liked = self._liked(queries)
        near, shown = self.item[liked["item"]], ops.gather(self.item, found.item, 0)
        return ops.nearest_liked(liked, near, found.query, shown, liked["weight"])

    @cached_property
    def _known(self) -> Mask:
        return np.asarray(self.item.any(axis=1), np.bool_)

    def _liked(self, queries: Queries) -> Ragged:
        return ops.liked(queries.history, self.half_life, len(self.item))

    def _user(self, queries: Queries) -> Vectors:
        return queries.once(self, "user", lambda: self._mean(self._liked(queries)))

    def _mean(self, liked: Ragged) -> Vectors:
        """(B, D) of length 1; zeros where nothing known is liked."""
        total = _kernels.sum_of_rows(liked.ptr, liked["item"], liked["weight"], self.item)
        length: NDArray[np.float32] = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(total / np.maximum(length, np.float32(1e-12)), np.float32)
