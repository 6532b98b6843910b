"""One space of vectors in memory: exact, or by a finder whose proposals are weighed with the true vectors."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.errors import StoreError
from shortlist.stores import kinds
from shortlist.stores.arrays import save
from shortlist.stores.database import explained
from shortlist.stores.kinds import Finder, Kind
from shortlist.stores.vectors import DEPTH, fits, questions, unit
from shortlist.types import Mask, Ragged, Rows, Scores, SpaceFacts, Vectors, empty_items

EVERYTHING = np.empty(0, np.bool_)
FEW = 4096  # open vectors that are looked at one by one rather than found
NARROW = 0.02  # share of open vectors below which a finder meets too few of them
Nearest: TypeAlias = tuple[NDArray[np.int64], Scores]  # (B, k) places and scores, best first, -1 and NaN after the last
SPARSE = 0.25  # share of open vectors below which they are brought together before they are looked at


@dataclass(frozen=True, slots=True)
class About:
    """What is written beside the vectors of a space."""

    metric: str = "inner"
    kind: Kind = field(default_factory=Kind)
    breadth: int = 0  # that reached the floor
    recall: float = 1.0  # at DEPTH, against exact, when it was built
    found: bool = False  # whether there is a finder


class Space:
    """Vectors by place. A finder covers the places it was made of; later ones are looked at one by one. A removed row
    leaves a place marked -1."""

    def __init__(self, folder: str, about: About, rows: Rows, vectors: Vectors, finder: Finder | None = None) -> None:
        self.folder = folder  # "" = only in memory
        self.about = about
        self.seq = 0  # the last change that is in memory
        self._finder = finder
        self._lock = threading.Lock()
        self._vectors = np.empty((0, vectors.shape[1]), np.float32)
        self._rows = np.empty(0, np.int32)
        self._there = np.empty(0, np.bool_)  # by place: it holds a row
        self._place = np.empty(0, np.int32)  # by row: its place, -1 = none
        self._count = 0  # of places
        self._left = 0  # of places without a row
        self._straight = 0  # every place before this one holds the row of the same number, or none
        self._built = 0
        self._free: list[int] = []
        self._upsert(rows, vectors)
        self._built = self._count if finder is not None else 0

    @staticmethod
    def make(name: str, folder: str, kind: Kind, metric: str, rows: Rows, vectors: Vectors, *, refuse: bool) -> Space:
        """A space with the finder of `kind`, its recall measured; StoreError when that stays under the floor and
        `refuse` is true."""
        rows, vectors = _last(rows, vectors)
        finder = kinds.make(kind, vectors)
        space = Space(folder, About(metric, kind, found=finder is not None), rows, vectors, finder)
        space._widen()
        if refuse and space.about.recall < kind.floor:
            raise StoreError(
                f"space {name!r}: {kind.kind} finds {space.about.recall:.3f} of the true nearest, the floor is"
                f" {kind.floor}",
                where="stores.index",
                hint="Give it more bits, links or cells, choose another kind, or lower the floor. The old space stays.",
            )
        return space

    def _widen(self) -> None:
        """Measure the recall; the breadth is doubled until it reaches the floor."""
        if self._finder is None:
            return
        kind, breadth = self.about.kind, self._finder.breadth
        while True:
            self.about = replace(self.about, breadth=breadth)
            self.about = replace(self.about, recall=self.measure())
            if self.about.recall >= kind.floor or breadth >= self._finder.widest:
                return
            breadth = min(2 * breadth, self._finder.widest)

    @staticmethod
    def load(name: str, folder: Path, kind: Kind, *, remake: bool) -> Space:
        """What `save` wrote. If it was made otherwise than `kind` says: made anew in memory if `remake`, else exact.
        For another breadth or floor the recall is measured again, no more."""
        with explained(folder):
            rows: Rows = np.load(folder / "row.npy", allow_pickle=False)
            vectors: Vectors = np.load(folder / "vector.npy", allow_pickle=False)
            path = folder / "space.json"
            written = path.read_bytes() if path.exists() else b"{}"
            try:
                about = msgspec.json.decode(written, type=About)
            except msgspec.MsgspecError as error:
                raise StoreError(f"{path} cannot be read: {error}", hint="Build the space again.") from None
            if about.kind.built != kind.built:
                if remake:
                    return Space.make(name, folder.name, kind, about.metric, rows, vectors, refuse=False)
                return Space(folder.name, About(about.metric, about.kind), rows, vectors)
            finder = kinds.load(kind, folder) if about.found else None
        space = Space(folder.name, replace(about, kind=kind), rows, vectors, finder)
        if about.kind != kind:
            space._widen()
        return space

    def save(self, folder: Path) -> None:
        save(folder / "row.npy", self._rows[: self._count])
        save(folder / "vector.npy", self._vectors[: self._count])
        if self._finder is not None:
            self._finder.save(folder)
        (folder / "space.json").write_bytes(msgspec.json.encode(self.about))

    def facts(self, name: str) -> SpaceFacts:
        about, size = self.about, self._count - self._left
        kind = about.kind.kind if about.found else "exact"
        return SpaceFacts(name, size, self._vectors.shape[1], about.metric, kind, about.recall, about.kind.floor)

    def held(self) -> tuple[Rows, Vectors]:
        """All rows and their vectors."""
        with self._lock:
            here = np.flatnonzero(self._rows[: self._count] >= 0)
            return self._rows[here], self._vectors[here]

    @property
    def order(self) -> int:
        """Greater for what was built later; a reader's own have no folder and come last."""
        return int(self.folder) if self.folder else 1 << 62

    @property
    def grown(self) -> int:
        """Vectors that the finder does not know."""
        return self._count - self._built if self._finder is not None else 0

    def check(self, name: str, vectors: NDArray[Any], metric: str) -> None:
        fits(name, self._vectors.shape[1], self.about.metric, vectors, metric)

    def apply(self, rows: Rows, vectors: bytes | None, seq: int) -> None:
        with self._lock:
            if vectors is None:
                places = ops.gather(self._place, np.unique(rows), -1)
                self._leave(places[places >= 0])
            else:
                self._upsert(rows, np.frombuffer(vectors, np.float32).reshape(len(rows), self._vectors.shape[1]))
            self.seq = seq

    def _leave(self, places: Rows) -> None:
        self._place[self._rows[places]] = -1
        self._rows[places] = -1
        self._there[places] = False
        self._left += len(places)
        self._free += places[places >= self._built].tolist()

    def _upsert(self, rows: Rows, vectors: Vectors) -> None:
        rows, vectors = _last(rows, vectors)
        places = ops.gather(self._place, rows, -1)
        known = (places >= 0) & (places < self._built)  # the finder knows the old vector
        self._leave(places[known])
        new = np.flatnonzero(known | (places < 0))
        reused = [self._free.pop() for _ in range(min(len(new), len(self._free)))]
        added = np.arange(self._count, self._count + len(new) - len(reused), dtype=np.int32)
        places[new] = np.concatenate((np.array(reused, np.int32), added))
        self._left -= len(reused)
        if self._straight == self._count:
            self._straight += len(added)
        self._straight = int(places[places != rows].min(initial=self._straight))
        self._count += len(added)
        self._rows = _grown(self._rows, self._count, -1)
        self._there = _grown(self._there, self._count, False)
        self._vectors = _grown(self._vectors, self._count, 0)
        self._place = _grown(self._place, int(rows.max(initial=-1)) + 1, -1)
        self._vectors[places] = vectors
        self._rows[places] = rows
        self._there[places] = True
        self._place[rows] = places

    def search(self, asked: Vectors, k: int, exclude: Ragged, allowed: Mask) -> tuple[Rows, Scores]:
        """(B, k) rows and scores, best first: as many as are open, however few those are."""
        with self._lock:
            rows, held = self._rows[: self._count], self._vectors[: self._count]
            open_ = self._open(rows, allowed)
            if len(exclude["item"]):
                place = ops.gather(self._place, exclude["item"], -1)
                exclude = Ragged(exclude.ptr, {"item": place}).where(place >= 0)
        if self.about.metric == "cosine":
            asked = unit(asked)
        count = len(rows) if open_ is None else int(np.count_nonzero(open_))
        if self._finder is None or count < max(FEW, NARROW * len(rows)):
            place, score = _exact(held, open_, count, asked, k, exclude)
        else:
            place, score = self._near(held, open_, asked, k, exclude)
            short = np.flatnonzero(np.count_nonzero(place >= 0, axis=1) < min(k, count))
            if len(short):  # the finder met too few: look at all that is open
                place[short], score[short] = _exact(held, open_, count, asked[short], k, exclude.take(short))
        return ops.gather(rows, place.ravel(), -1).reshape(place.shape), score

    def _open(self, rows: Rows, allowed: Mask) -> Mask | None:
        """(N,) the places that may be shown, None = all."""
        if not len(allowed):
            return np.array(self._there[: len(rows)]) if self._left else None
        open_ = np.array(self._there[: len(rows)])
        straight = min(self._straight, len(allowed))
        open_[:straight] &= allowed[:straight]
        if self._straight < len(rows):
            open_[self._straight :] &= ops.gather(allowed, rows[self._straight :], True)
        return open_

    def _near(self, held: Vectors, open_: Mask | None, asked: Vectors, k: int, exclude: Ragged) -> Nearest:
        """The k best of those that the finder proposes and of those that it does not know."""
        assert self._finder is not None
        built, more = self._built, int(exclude.length.max(initial=0))
        known = None if open_ is None or open_[:built].all() else open_[:built]
        finite = np.where(np.isfinite(asked), asked, np.float32(0))
        place = self._finder.near(finite, k + more, self.about.breadth, known)
        if len(held) > built:
            late = np.arange(built, len(held)) if open_ is None else built + np.flatnonzero(open_[built:])
            place = np.concatenate((place, np.broadcast_to(late, (len(asked), len(late)))), axis=1)
        if more:
            query = np.repeat(np.arange(len(asked), dtype=np.int32), place.shape[1])
            left_out = ops.contains(exclude, query, place.ravel().astype(np.int32))
            place = np.where(left_out.reshape(place.shape), -1, place)
        return _kernels.top_of_places(asked, held, place, k)

    def measure(self) -> float:
        """Recall at DEPTH against exact."""
        _, held = self.held()
        asked, k = questions(held), min(DEPTH, len(held))
        nobody = empty_items(len(asked))
        true = _exact(held, None, len(held), asked, k, nobody)[1]
        found = self._near(held, None, asked, k, nobody)[1]
        return float(np.mean(found >= true[:, -1:] - 1e-5 * np.abs(true[:, -1:])))


def _exact(held: Vectors, open_: Mask | None, count: int, asked: Vectors, k: int, exclude: Ragged) -> Nearest:
    """The k best of all `count` open places."""
    if open_ is None or count > SPARSE * len(held):
        best = ops.top_of_product(asked, held, k, exclude, EVERYTHING if open_ is None else open_)
        place = best.item
    else:
        few = np.flatnonzero(open_).astype(np.int32)
        if len(exclude["item"]):
            at = np.searchsorted(few, exclude["item"])
            there = ops.gather(few, at, -1) == exclude["item"]
            exclude = Ragged(exclude.ptr, {"item": at.astype(np.int32)}).where(there)
        best = ops.top_of_product(asked, held[few], k, exclude, EVERYTHING)
        place = few[best.item]
    found, score = np.full((len(asked), k), -1, np.int64), np.full((len(asked), k), np.nan, np.float32)
    column = np.arange(len(best)) - ops.pointers(best.query, len(asked))[:-1][best.query]
    found[best.query, column] = place
    score[best.query, column] = best.columns["score"]
    return found, score


def _last(rows: Rows, vectors: Vectors) -> tuple[Rows, Vectors]:
    """Without the earlier ones of a row that is given twice."""
    last = np.sort(len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1])
    return (rows[last], vectors[last]) if len(last) < len(rows) else (rows, vectors)


def _grown(array: NDArray[Any], size: int, fill: Any) -> NDArray[Any]:
    """`array` with room for `size` entries, twice as many as before when there was too little."""
    if size <= len(array):
        return array
    wide = np.full((max(size, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    wide[: len(array)] = array
    return wide
