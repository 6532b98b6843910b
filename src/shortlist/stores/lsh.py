"""Locality-sensitive hashing: signs of random projections, compared bit by bit.

Charikar 2002. An inner product is made an angle by one more column (Neyshabur and Srebro, ICML 2015): a vector x
becomes (x, sqrt(m² - |x|²)) with m the greatest length, a question (q, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels
from shortlist.stores.arrays import save
from shortlist.types import Mask, Vectors

BREADTH = 1000
BLOCK = 1 << 16  # vectors coded at once
SEED = 20150
EVERYTHING = np.empty(0, np.bool_)


@dataclass(frozen=True)
class Lsh:
    """Codes of vectors, of which those that differ in the fewest bits are looked at."""

    plane: Vectors  # (D + 1, bits)
    code: NDArray[np.uint64]  # (N, bits / 64)
    breadth: int

    @property
    def widest(self) -> int:
        return len(self.code)

    def near(self, asked: Vectors, count: int, breadth: int, open_: Mask | None) -> NDArray[np.int64]:
        count = min(max(count, breadth), len(self.code))
        codes = _code(asked @ self.plane[:-1])
        return _kernels.nearest_codes(self.code, codes, count, EVERYTHING if open_ is None else open_)

    def save(self, folder: Path) -> None:
        save(folder / "plane.npy", self.plane)
        save(folder / "code.npy", self.code)


def make(vectors: Vectors, bits: int, breadth: int) -> Lsh:
    square = np.einsum("nd,nd->n", vectors, vectors)
    rest = np.sqrt(np.maximum(square.max() - square, 0))[:, None]
    plane = np.random.default_rng(SEED).normal(size=(vectors.shape[1] + 1, bits)).astype(np.float32)
    code = np.empty((len(vectors), bits // 64), np.uint64)
    for start in range(0, len(vectors), BLOCK):
        part = slice(start, start + BLOCK)
        code[part] = _code(vectors[part] @ plane[:-1] + rest[part] * plane[-1])
    return Lsh(plane, code, breadth or BREADTH)


def load(folder: Path, breadth: int) -> Lsh:
    plane: Vectors = np.load(folder / "plane.npy", allow_pickle=False)
    code: NDArray[np.uint64] = np.load(folder / "code.npy", allow_pickle=False)
    return Lsh(plane, code, breadth or BREADTH)


def _code(side: Vectors) -> NDArray[np.uint64]:
    return np.packbits(side > 0, axis=1).view(np.uint64)
