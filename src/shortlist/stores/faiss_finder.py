"""HNSW, IVF and product quantisation by faiss (extra: ann); the only file that imports it.

    hnsw  a graph of neighbours over the vectors themselves (Malkov and Yashunin 2016)
    ivf   cells around centres, vectors of 8 bits a number
    pq    cells around centres, 8 bits for every 4 numbers (Jégou, Douze, Schmid 2011)

What they propose is weighed again with the true vectors, so their scores are exact and only their choice is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ConfigError, StoreError
from shortlist.stores.kinds import Kind
from shortlist.types import Mask, Vectors

try:
    faiss: Any = import_module("faiss")
except ImportError as error:
    raise ConfigError(
        "this kind of index needs faiss, which is not installed",
        where="stores.index",
        hint='Install it with: pip install "shortlist[ann]", or choose kind=lsh or kind=exact.',
    ) from error

FILE = "finder.faiss"
EF_BUILD = 128  # breadth of the search while a graph is built
TRAINED_ON = 64  # vectors of each cell that the centres are found from
CODE_ROUNDS = 8  # of k-means for the codes: more gain nothing that counts, since vectors are weighed again
LEAST = {"hnsw": 2, "ivf": 64, "pq": 1000}  # vectors below which there is nothing to learn a code from
QUANTUM = 4  # numbers that share a byte of a product code
SPARE = {"hnsw": 1.0, "ivf": 1.25, "pq": 4.0}  # times as many as wanted are proposed: codes are coarse


@dataclass(frozen=True)
class FaissFinder:
    """An index of faiss that is never changed."""

    kind: Kind
    index: Any

    @property
    def breadth(self) -> int:
        return self.kind.breadth or {"hnsw": 128, "ivf": 32, "pq": 32}[self.kind.kind]

    @property
    def widest(self) -> int:
        return int(self.index.ntotal if self.kind.kind == "hnsw" else self.index.nlist)

    def near(self, asked: Vectors, count: int, breadth: int, open_: Mask | None) -> NDArray[np.int64]:
        given: dict[str, Any] = {}
        if open_ is not None:
            bits = np.packbits(open_, bitorder="little")
            given["sel"] = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        if self.kind.kind == "hnsw":
            how = faiss.SearchParametersHNSW(efSearch=breadth, **given)
        else:
            how = faiss.SearchParametersIVF(nprobe=min(breadth, self.index.nlist), **given)
        count = min(int(count * SPARE[self.kind.kind]), self.index.ntotal)
        faiss.omp_set_num_threads(1)  # of this thread: a server scales by processes
        asked = np.ascontiguousarray(_padded(asked, self.index.d), np.float32)
        found: NDArray[np.int64] = self.index.search(asked, count, params=how)[1]
        return found

    def save(self, folder: Path) -> None:
        try:
            faiss.write_index(self.index, str(folder / FILE))
        except RuntimeError as error:
            raise StoreError(
                f"{folder / FILE} cannot be written: {error}", hint="Check the space on that disk."
            ) from None


def make(kind: Kind, vectors: Vectors) -> FaissFinder | None:
    """None where there are too few vectors to learn from."""
    size, width = vectors.shape
    if size < LEAST[kind.kind]:
        return None
    cells = min(kind.cells or int(4 * size**0.5), size // 32)
    wide = -(-width // QUANTUM) * QUANTUM
    text = {"hnsw": f"HNSW{kind.links},Flat", "ivf": f"IVF{cells},SQ8", "pq": f"IVF{cells},PQ{wide // QUANTUM}"}
    index = faiss.index_factory(wide, text[kind.kind], faiss.METRIC_INNER_PRODUCT)
    if kind.kind == "hnsw":
        index.hnsw.efConstruction = EF_BUILD
    else:
        index.cp.max_points_per_centroid = TRAINED_ON
        index.cp.min_points_per_centroid = 1
    if kind.kind == "pq":
        index.pq.cp.niter = CODE_ROUNDS
        index.do_polysemous_training = False  # takes most of the time, for a filter not used here
    faiss.omp_set_num_threads(1)
    padded = np.ascontiguousarray(_padded(vectors, wide))
    index.train(padded)
    index.add(padded)
    return FaissFinder(kind, index)


def load(kind: Kind, folder: Path) -> FaissFinder:
    try:
        return FaissFinder(kind, faiss.read_index(str(folder / FILE)))
    except RuntimeError as error:
        hint = "Build the space again: shortlist train, or put the vectors in again."
        raise StoreError(f"{folder / FILE} cannot be read: {error}", hint=hint) from None


def _padded(vectors: Vectors, wide: int) -> Vectors:
    return np.pad(vectors, ((0, 0), (0, wide - vectors.shape[1]))) if vectors.shape[1] < wide else vectors
