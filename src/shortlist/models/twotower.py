"""Two towers: a vector of a person from id, history and profile, one of an item from id and content, and their product.

Learned by softmax over the items of a batch and some drawn at random, corrected for how often each is drawn (Yi et al.,
RecSys 2019; Yang et al., WWW 2020). Ids are left out at random while learning, so that people and items who came later
are known by their facts, which both towers read from the catalogue as it is when they serve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.derived import Derived, ItemVectors
from shortlist.descent import Arrays, Descent, Tensors, digest, library
from shortlist.errors import ConfigError, ShapeError
from shortlist.models import learning
from shortlist.models.fields import Fields
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Columns, Mask, Queries, Ragged, Rows, Scores, Vectors

DEVIATION = 0.1  # of what parameters start from
SHORTEST = 1e-6  # length below which a vector says nothing


@dataclass(frozen=True, slots=True)
class TwoTower:
    """The source for people and items that nobody has met yet; needs the extra `torch` to fit, nothing to serve.

    Fitting takes, for n likings, about 6 n (`descent.batch` + `negatives`) `width` operations an epoch.
    """

    catalog: Catalog
    width: int = 64
    inner: int = 128  # width of the layer between the sum of what is known and the vector
    user_columns: tuple[str, ...] = ()  # facts of people that are read; () = all
    item_columns: tuple[str, ...] = ()
    least: int = 2  # rows that must share a text for it to count
    length: int = 50  # newest likings that are read
    negatives: int = 256  # items drawn evenly for each batch, beside those of the batch
    temperature: float = 0.07  # of the softmax over cosines
    forget: float = 0.3  # share of ids, and of histories, that is left out while learning
    descent: Descent = field(default_factory=lambda: Descent(epochs=50, batch=512, decay=1e-4))

    def __post_init__(self) -> None:
        if min(self.width, self.inner, self.length, self.least) < 1 or not self.temperature > 0 or self.negatives < 0:
            raise ConfigError(
                f"width is {self.width}, inner {self.inner}, length {self.length}, least {self.least}, negatives"
                f" {self.negatives}, temperature {self.temperature}: negatives may be 0, the others not",
                where="models.twotower",
            )
        if not 0 <= self.forget < 1:
            raise ConfigError(f"forget is {self.forget}, but must be in [0, 1)", where="models.twotower")

    def fit(self, data: Dataset, *, seed: int) -> TwoTowerModel:
        chance = np.random.default_rng(seed)
        liked = data.sequences.where(data.sequences["weight"] > 0)
        rest, held = learning.hold_out(liked, self.descent.held, chance)
        fields = (
            Fields.of(data.users, self.user_columns, self.least),
            Fields.of(data.items, self.item_columns, self.least),
        )
        codes = (fields[0].codes(data.users, data.n_users), fields[1].codes(data.items, data.n_items))
        start = self._start(data.n_users, data.n_items, fields, chance)
        start["user_id"][rest.length == 0] = 0
        start["item_id"][np.bincount(rest["item"], minlength=data.n_items) == 0] = 0
        start["history"][np.bincount(rest["item"], minlength=data.n_items) == 0] = 0
        if not self.descent.epochs or not len(rest["item"]):
            return self._model(start, fields)
        torch = library("models.twotower")
        examples = _Examples(rest, *codes, self.length, self.negatives, self.forget)
        learned = self.descent.run(
            torch,
            start,
            lambda parameters, batch: self._loss(torch, parameters, batch),
            lambda chance: examples.batches(self.descent.batch, chance),
            (lambda arrays: held.ndcg(self._model(arrays, fields))) if len(held.queries) else None,
            seed=seed,
            facts=(
                {name: getattr(self, name) for name in self.__slots__ if name != "catalog"},
                digest(rest.ptr, rest["item"], *(part for each in codes for part in (each.ptr, each["code"]))),
            ),
        )
        return self._model(learned, fields)

    def _start(self, users: int, items: int, fields: tuple[Fields, Fields], chance: np.random.Generator) -> Arrays:
        def drawn(*shape: int, deviation: float = DEVIATION) -> Vectors:
            return chance.normal(0, deviation, shape).astype(np.float32)

        made = {
            "user_id": drawn(users, self.width),
            "item_id": drawn(items, self.width),
            "history": drawn(items, self.width),
            "user_fact": drawn(fields[0].size, self.width),
            "item_fact": drawn(fields[1].size, self.width),
        }
        for side in ("user", "item"):
            made[f"{side}_up"] = drawn(self.width, self.inner, deviation=self.width**-0.5)
            made[f"{side}_up_shift"] = np.zeros(self.inner, np.float32)
            made[f"{side}_down"] = drawn(self.inner, self.width, deviation=self.inner**-0.5)
        return made

    def _model(self, arrays: Arrays, fields: tuple[Fields, Fields]) -> TwoTowerModel:
        user, item = (
            Tower(each, *(arrays[f"{name}_{part}"] for part in ("id", "fact", "up", "up_shift", "down")))
            for name, each in zip(("user", "item"), fields, strict=True)
        )
        return TwoTowerModel(self.catalog, user, item, arrays["history"], self.length)

    def _loss(self, torch: Any, parameters: Tensors, batch: _Batch) -> Any:
        """Mean over a batch of pairs of minus the logarithm of the chance of the right item, corrected."""
        user = self.tower(torch, parameters, "user", batch.user, batch.user_fact, batch.history)
        item = self.tower(torch, parameters, "item", batch.item, batch.item_fact)
        score = user @ item.T / self.temperature - torch.from_numpy(batch.log_chance)[None, :]
        return torch.nn.functional.cross_entropy(
            score.masked_fill(torch.from_numpy(batch.same), -1e9), torch.arange(len(user))
        )

    def tower(
        self, torch: Any, parameters: Tensors, side: str, row: Rows, fact: Ragged, history: Ragged | None = None
    ) -> Any:
        """(B, width) unit vectors as tensors: ids `row` (B,) with -1 for none, lists of fact codes, of liked items."""
        nn = torch.nn.functional

        def summed(table: Any, lists: Ragged, name: str, mode: str) -> Any:
            listed = torch.from_numpy(lists[name].astype(np.int64))
            return nn.embedding_bag(listed, table, torch.from_numpy(lists.ptr[:-1]), mode=mode)

        there = row >= 0
        known = Ragged(np.concatenate(([0], np.cumsum(there))).astype(np.int64), {"row": row[there]})
        total = summed(parameters[f"{side}_id"], known, "row", "sum")
        if len(parameters[f"{side}_fact"]):
            total = total + summed(parameters[f"{side}_fact"], fact, "code", "sum")
        if history is not None:
            total = total + summed(parameters["history"], history, "item", "mean")
        inner = nn.relu(total @ parameters[f"{side}_up"] + parameters[f"{side}_up_shift"])
        return nn.normalize(total + inner @ parameters[f"{side}_down"], dim=1, eps=SHORTEST)


@dataclass(frozen=True, slots=True)
class Tower:
    """One side: vectors of ids and of facts, added up, and two layers over the sum."""

    fields: Fields
    id: Vectors  # (R, D) a row of zeros for whoever was not in the likings
    fact: Vectors  # (C, D) by code
    up: Vectors  # (D, W)
    up_shift: Scores  # (W,)
    down: Vectors  # (W, D)

    def vectors(self, row: Rows, codes: Ragged, more: Vectors | None = None) -> Vectors:
        """(B, D) unit vectors of ids `row` (B,) and lists of fact codes, `more` (B, D) added; zeros where nothing is
        known."""
        total = ops.gather(self.id, row, np.float32(0)) + _bag(self.fact, codes, "code")
        if more is not None:
            total = total + more
        vector = total + _through(np.maximum(_through(total, self.up) + self.up_shift, 0), self.down)
        length = np.linalg.norm(vector, axis=1, keepdims=True)
        vector = (vector / np.maximum(length, SHORTEST)).astype(np.float32)
        return np.where(total.any(axis=1, keepdims=True), vector, np.float32(0))


@dataclass(frozen=True)
class TwoTowerModel:
    """Both towers; items are all those of the catalogue of which anything is known, those of a second ago included."""

    catalog: Catalog
    user: Tower
    item: Tower
    history: Vectors  # (I, D) what a liked item says of a person
    length: int

    def __post_init__(self) -> None:
        if self.history.shape != self.item.id.shape or self.user.id.shape[1] != self.item.id.shape[1]:
            raise ShapeError(f"TwoTowerModel: {self.history.shape} for items of {self.item.id.shape}")

    def recall(self, queries: Queries, k: int) -> Candidates:
        vectors, known = self._items()
        allowed = queries.with_allowed(known).allowed
        return ops.top_of_product(self.encode(queries), vectors, k, queries.exclude, allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        vectors, known = self._items()
        score = _kernels.products(self.encode(queries), vectors, found.query, found.item)
        return np.where(ops.gather(known, found.item, False), score, np.float32(np.nan))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking that is read whose vector, by the tower of items, has the largest cosine with the item's."""
        vectors, liked = self._items()[0], self._read(queries.history)
        return ops.nearest_liked(liked, vectors[liked["item"]], found.query, ops.gather(vectors, found.item, 0))

    def vectors(self, item: Rows) -> Vectors:
        return ops.gather(self._items()[0], item, 0)

    def encode(self, queries: Queries) -> Vectors:
        return queries.once(self, "user", lambda: self.people(queries.user, queries.history))

    def people(self, user: Rows, history: Ragged) -> Vectors:
        """(B, D) unit vectors; zeros for people of whom neither id nor fact nor liking is known."""
        rows = np.where(user < self.catalog.size("user"), user, -1).astype(np.int32)
        liked = self._read(history)
        count = np.maximum(liked.length, 1).astype(np.float32)
        mean = _bag(self.history, liked, "item") / count[:, None]
        return self.user.vectors(rows, self._profile(rows), mean)

    def _read(self, history: Ragged) -> Ragged:
        """The likings that the tower of people reads."""
        said = (history["weight"] > 0) & (history["item"] >= 0) & (history["item"] < len(self.history))
        return history.where(said).last(self.length)

    @cached_property
    def _items(self) -> Derived[tuple[Vectors, Mask]]:
        """(I, D) the vectors of all items of the catalogue, (I,) whether anything is known of each."""
        width = self.item.id.shape[1]
        vectors = ItemVectors(self.catalog, self.item.fields.names, width, self._made)
        return Derived(self.catalog, lambda: _with_known(vectors()))

    def _made(self, rows: Rows, facts: Columns) -> Vectors:
        return self.item.vectors(rows, self.item.fields.codes(facts, len(rows)))

    def _profile(self, rows: Rows) -> Ragged:
        """The codes of what is known of people."""
        fields, there = self.user.fields, set(self.catalog.names("user"))
        return fields.codes(
            self.catalog.read("user", rows, [each for each in fields.names if each in there]), len(rows)
        )


def _with_known(vectors: Vectors) -> tuple[Vectors, Mask]:
    return vectors, np.asarray(vectors.any(axis=1), np.bool_)


def _through(vectors: Vectors, matrix: Vectors) -> Vectors:
    """vectors (B, D) @ matrix (D, W), each row as if it came alone: BLAS rounds by what comes along, and a vector that
    is worked out again must be the one of every other process, bit for bit."""
    rows, width = vectors.shape
    place = np.tile(np.arange(width, dtype=np.int32), rows)
    return _kernels.sum_of_rows(np.arange(rows + 1, dtype=np.int64) * width, place, vectors.ravel(), matrix)


def _bag(table: Vectors, lists: Ragged, name: str) -> Vectors:
    """(B, D) the sum of the rows of `table` that each list names."""
    summed = np.zeros((len(lists), table.shape[1]), np.float32)
    filled = lists.length > 0
    if filled.any():
        summed[filled] = np.add.reduceat(table[lists[name]], lists.ptr[:-1][filled], axis=0)
    return summed


@dataclass(frozen=True, slots=True)
class _Batch:
    """B pairs of a person and the item they took, then N items drawn evenly."""

    user: Rows  # (B,) -1 = left out
    user_fact: Ragged
    history: Ragged  # what each person liked before
    item: Rows  # (B + N,) -1 = left out
    item_fact: Ragged
    log_chance: NDArray[np.float32]  # (B + N,) of how often each item is expected in a batch
    same: Mask  # (B, B + N) where another column is the item of the row, so no wrong answer


@dataclass(frozen=True, slots=True)
class _Examples:
    """All likings as pairs."""

    liked: Ragged
    user_fact: Ragged
    item_fact: Ragged
    length: int
    negatives: int
    forget: float

    def batches(self, size: int, chance: np.random.Generator) -> Iterable[_Batch]:
        target, owner = self.liked["item"], self.liked.owner
        items = len(self.item_fact)
        often = np.bincount(target, minlength=items) / len(target)
        order = chance.permutation(len(target))
        for begin in range(0, len(order), size):
            at = order[begin : begin + size]
            user, drawn = owner[at], chance.integers(0, items, self.negatives).astype(np.int32)
            item = np.concatenate((target[at], drawn))
            same = item[None, :] == target[at][:, None]
            same[np.arange(len(at)), np.arange(len(at))] = False
            yield _Batch(
                self._without(user, chance),
                self.user_fact.take(user),
                self._before(at, user, chance),
                self._without(np.where(often[item] > 0, item, -1), chance),  # no id for an item that nobody liked
                self.item_fact.take(item),
                np.log(len(at) * often[item] + self.negatives / items).astype(np.float32),
                same,
            )

    def _without(self, row: NDArray[np.integer], chance: np.random.Generator) -> Rows:
        return np.where(chance.random(len(row)) < self.forget, -1, row).astype(np.int32)

    def _before(self, at: NDArray[np.integer], user: Rows, chance: np.random.Generator) -> Ragged:
        """What was liked before each liking, nothing for a share of them."""
        start = np.maximum(self.liked.ptr[:-1][user], at - self.length)
        count = np.where(chance.random(len(at)) < self.forget, 0, at - start)
        ptr = np.concatenate(([0], np.cumsum(count))).astype(np.int64)
        inner = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], count)
        return Ragged(ptr, {"item": self.liked["item"][inner]})
