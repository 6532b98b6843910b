"""Items whose vectors are nearest to a person's vector, or to what is in view, through an Index."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from shortlist import ops
from shortlist.errors import NotFound
from shortlist.protocols import Index
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors

SAMPLE = 64  # vectors that tell one training from another
KEPT = 3  # spaces of one name: of the release that is served, of the one before and of the one to come


class VectorModel(Protocol):
    """A model that makes a person a vector among those of items."""

    @property
    def item(self) -> Vectors: ...  # (I, D), zeros for items that it does not know

    def fold_in(self, history: Ragged) -> Vectors: ...  # (B, D), zeros where nothing known is liked


@dataclass(frozen=True, slots=True)
class Nearest:
    """Proposes what the index finds near the person's vector (`about` "history") or the mean of the items in view.

    The vectors of the model are put into a space of their own when it is first asked for, which is when a release is
    warmed up; its name is `space` and a digest of them, so that another training has another space. Spaces of older
    trainings are dropped then.
    """

    model: VectorModel
    index: Index
    space: str = "items"
    metric: Literal["inner", "cosine"] = "inner"
    about: Literal["history", "context"] = "history"

    def recall(self, queries: Queries, k: int) -> Candidates:
        asked = self._vectors(queries)
        asked = np.where((asked != 0).any(axis=1, keepdims=True), asked, np.float32(np.nan))  # zeros: no opinion
        if not np.isfinite(asked).any():
            return Candidates.empty()
        exclude = queries.exclude
        if self.about == "context":
            exclude = queries.with_exclude(Ragged(queries.context.ptr, {"item": queries.context["item"]})).exclude
        row, score = self._search(asked, k, exclude, queries)
        query, place = np.nonzero(row >= 0)
        return Candidates(query.astype(np.int32), row[query, place], {"score": score[query, place]})

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking, or the item in view, whose vector has the largest cosine with the item's."""
        item = self.model.item
        told = ops.liked(queries.history, 0, len(item)) if self.about == "history" else queries.context
        near, shown = ops.gather(item, told["item"], 0), ops.gather(item, found.item, 0)
        return ops.nearest_liked(told, near, found.query, shown)

    @property
    def full_name(self) -> str:
        """Of the space that holds the vectors of this training."""
        item = self.model.item
        digest = hashlib.sha256(repr((item.shape, self.metric)).encode())
        digest.update(np.ascontiguousarray(item[:: max(1, len(item) // SAMPLE)]).tobytes())
        return f"{self.space}@{digest.hexdigest()[:12]}"

    def build(self) -> None:
        """Put the vectors of the model into the index, and drop those of older trainings."""
        item = self.model.item
        known = np.flatnonzero((item != 0).any(axis=1)).astype(np.int32)
        self.index.build(self.full_name, known, item[known], metric=self.metric)
        same = [each.name for each in self.index.spaces() if each.name.startswith(f"{self.space}@")]
        for name in same[:-KEPT]:
            self.index.drop(name)

    def _search(self, asked: Vectors, k: int, exclude: Ragged, queries: Queries) -> tuple[Rows, Scores]:
        def search() -> tuple[Rows, Scores]:
            return self.index.search(
                self.full_name, asked, k, metric=self.metric, exclude=exclude, allowed=queries.allowed
            )

        try:
            return search()
        except NotFound:
            self.build()
            return search()

    def _vectors(self, queries: Queries) -> Vectors:
        if self.about == "history":
            return queries.once(self.model, "user", lambda: self.model.fold_in(queries.history))
        item, context = self.model.item, queries.context
        vectors = ops.gather(item, context["item"], 0)
        summed = np.zeros((len(queries), item.shape[1]), np.float32)
        np.add.at(summed, context.owner, vectors)
        summed /= np.maximum(context.length, 1)[:, None]
        return summed
