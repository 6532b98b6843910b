"""One space of vectors in memory: exact, or by a finder whose proposals are weighed with the true vectors."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.errors import StoreError
from shortlist.stores import kinds
from shortlist.stores.arrays import save
from shortlist.stores.database import explained
from shortlist.stores.kinds import Finder, Kind
from shortlist.stores.vectors import DEPTH, fits, questions, unit
from shortlist.types import Candidates, Mask, Positions, Ragged, Rows, Scores, SpaceFacts, Vectors, empty_items

BLOCK = 1 << 22  # scores computed at once: 16 MB
EVERYTHING = np.empty(0, np.bool_)
FEW = 4096  # open vectors that are looked at one by one rather than found
NARROW = 0.02  # share of open vectors below which a finder meets too few of them


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
        self._count = 0
        self._built = 0
        self._place: dict[int, int] = {}
        self._free: list[int] = []
        self._upsert(rows, vectors)
        self._built = self._count if finder is not None else 0

    @staticmethod
    def make(name: str, folder: str, kind: Kind, metric: str, rows: Rows, vectors: Vectors, *, refuse: bool) -> Space:
        """A space with the finder of `kind`, its recall measured; StoreError when that stays under the floor and
        `refuse` is true."""
        last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]  # of a row given twice the last counts
        if len(last) < len(rows):
            rows, vectors = rows[np.sort(last)], vectors[np.sort(last)]
        finder = kinds.make(kind, vectors)
        if finder is None:
            return Space(folder, About(metric, kind), rows, vectors)
        breadth = finder.breadth
        while True:
            space = Space(folder, About(metric, kind, breadth, found=True), rows, vectors, finder)
            recall = space.measure()
            if recall >= kind.floor or breadth >= finder.widest:
                break
            breadth = min(2 * breadth, finder.widest)
        if refuse and recall < kind.floor:
            raise StoreError(
                f"space {name!r}: {kind.kind} finds {recall:.3f} of the true nearest, the floor is {kind.floor}",
                where="stores.index",
                hint="Give it more bits, links or cells, choose another kind, or lower the floor. The old space stays.",
            )
        space.about = About(metric, kind, breadth, recall, found=True)
        return space

    @staticmethod
    def load(name: str, folder: Path, kind: Kind, *, remake: bool) -> Space:
        """What `save` wrote. When that is of another kind than `kind`: made anew in memory if `remake`, else exact."""
        with explained(folder):
            rows: Rows = np.load(folder / "row.npy", allow_pickle=False)
            vectors: Vectors = np.load(folder / "vector.npy", allow_pickle=False)
            path = folder / "space.json"
            written = path.read_bytes() if path.exists() else b"{}"
            try:
                about = msgspec.json.decode(written, type=About)
            except msgspec.MsgspecError as error:
                raise StoreError(f"{path} cannot be read: {error}", hint="Build the space again.") from None
            if about.kind != kind:
                if remake:
                    return Space.make(name, folder.name, kind, about.metric, rows, vectors, refuse=False)
                return Space(folder.name, About(about.metric, about.kind), rows, vectors)
            finder = kinds.load(kind, folder) if about.found else None
        return Space(folder.name, about, rows, vectors, finder)

    def save(self, folder: Path) -> None:
        save(folder / "row.npy", self._rows[: self._count])
        save(folder / "vector.npy", self._vectors[: self._count])
        if self._finder is not None:
            self._finder.save(folder)
        (folder / "space.json").write_bytes(msgspec.json.encode(self.about))

    def facts(self, name: str) -> SpaceFacts:
        about, size = self.about, len(self._place)
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
                for row in rows.tolist():
                    place = self._place.pop(row, None)
                    if place is not None:
                        self._leave(place)
            else:
                self._upsert(rows, np.frombuffer(vectors, np.float32).reshape(len(rows), self._vectors.shape[1]))
            self.seq = seq

    def _leave(self, place: int) -> None:
        self._rows[place] = -1
        if place >= self._built:
            self._free.append(place)

    def _upsert(self, rows: Rows, vectors: Vectors) -> None:
        places = np.empty(len(rows), np.int64)
        for at, row in enumerate(rows.tolist()):
            place = self._place.get(row)
            if place is not None and place < self._built:  # the finder knows the old vector
                self._leave(place)
                place = None
            if place is None:
                if self._free:
                    place = self._free.pop()
                else:
                    place = self._count
                    self._count += 1
                self._place[row] = place
            places[at] = place
        if self._count > len(self._rows):
            size = max(self._count, 2 * len(self._rows))
            wide = np.zeros((size, self._vectors.shape[1]), np.float32)
            wide[: len(self._vectors)] = self._vectors
            self._rows = np.concatenate((self._rows, np.full(size - len(self._rows), -1, np.int32)))
            self._vectors = wide
        self._vectors[places] = vectors
        self._rows[places] = rows

    def search(self, asked: Vectors, k: int, exclude: Ragged, allowed: Mask) -> tuple[Rows, Scores]:
        """(B, k) rows and scores, best first: as many as are open, however few those are."""
        with self._lock:
            rows, held = self._rows[: self._count], self._vectors[: self._count]
        if self.about.metric == "cosine":
            asked = unit(asked)
        open_ = rows >= 0
        if len(allowed):
            open_ &= ops.gather(allowed, rows, True)
        count = int(np.count_nonzero(open_))
        if self._finder is None or count < max(FEW, NARROW * len(rows)):
            return _table(_exact(rows, held, open_, asked, k, exclude), len(asked), k)
        best = self._near(rows, held, open_, asked, k, exclude)
        short = np.flatnonzero(np.bincount(best.query, minlength=len(asked)) < min(k, count))
        if len(short):  # the finder met too few: look at all that is open
            again = _exact(rows, held, open_, asked[short], k, exclude.take(short))
            again = Candidates(short[again.query].astype(np.int32), again.item, again.columns)
            best = Candidates.concat([best.take(~np.isin(best.query, short)), again])
        return _table(best, len(asked), k)

    def _near(self, rows: Rows, held: Vectors, open_: Mask, asked: Vectors, k: int, exclude: Ragged) -> Candidates:
        assert self._finder is not None
        built, more = self._built, int(exclude.length.max(initial=0))
        whole = bool(open_[:built].all())
        place = self._finder.near(np.nan_to_num(asked), k + more, self.about.breadth, None if whole else open_[:built])
        score = np.einsum("bd,bmd->bm", asked, held[place])
        score[(place < 0) | ~open_[place]] = np.nan
        if len(rows) > built:
            late = asked @ held[built:].T
            late[:, ~open_[built:]] = np.nan
            place = np.concatenate((place, np.broadcast_to(np.arange(built, len(rows)), late.shape)), axis=1)
            score = np.concatenate((score, late), axis=1)
        top = ops.top_of_matrix(score, k + more, empty_items(len(asked)), EVERYTHING)
        return _permitted(top, rows[place[top.query, top.item]], exclude, k, len(asked))

    def measure(self) -> float:
        """Recall at DEPTH against exact."""
        rows, held = self.held()
        asked, k = questions(held), min(DEPTH, len(rows))
        every, nobody = np.ones(len(rows), np.bool_), empty_items(len(asked))
        true = _table(_exact(rows, held, every, asked, k, nobody), len(asked), k)[1]
        found = _table(self._near(rows, held, every, asked, k, nobody), len(asked), k)[1]
        return float(np.mean(found >= true[:, -1:] - 1e-5 * np.abs(true[:, -1:])))


def _exact(rows: Rows, held: Vectors, open_: Mask, asked: Vectors, k: int, exclude: Ragged) -> Candidates:
    """The k best of all that is open, block by block."""
    place: Positions = np.flatnonzero(open_)
    more = int(exclude.length.max(initial=0))
    whole = len(place) == len(rows)
    best = Candidates.empty()
    step = max(1, BLOCK // max(1, len(asked)))
    for start in range(0, len(place), step):
        here = slice(start, start + step)
        score = asked @ (held[here] if whole else held[place[here]]).T
        part = ops.top_of_matrix(score, k + more, empty_items(len(score)), EVERYTHING)
        part = _permitted(part, rows[place[here]][part.item], exclude, k, len(asked))
        best = Candidates.concat([best, part]) if start else part
        best = best.take(ops.topk(best.query, best.columns["score"], k, len(asked))) if start else best
    return best


def _permitted(top: Candidates, rows: Rows, exclude: Ragged, k: int, asked: int) -> Candidates:
    """The first k of each query that are not excluded, by catalog row."""
    found = Candidates(top.query, rows, {"score": top.columns["score"]})
    if not len(exclude["item"]):
        return found
    found = found.take(~ops.contains(exclude, found.query, found.item))
    rank = np.arange(len(found)) - ops.pointers(found.query, asked)[:-1][found.query]
    return found.take(rank < k)


def _table(best: Candidates, asked: int, k: int) -> tuple[Rows, Scores]:
    found = np.full((asked, k), -1, np.int32)
    scores = np.full((asked, k), np.nan, np.float32)
    column = np.arange(len(best)) - ops.pointers(best.query, asked)[:-1][best.query]
    found[best.query, column] = best.item
    scores[best.query, column] = best.columns["score"]
    return found, scores
