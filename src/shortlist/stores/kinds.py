"""Kinds of search in a space of vectors, chosen by the URL of the index: `file:data?kind=hnsw&floor=0.95`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ConfigError
from shortlist.types import Mask, Vectors

KINDS = ("exact", "lsh", "hnsw", "ivf", "pq")


@dataclass(frozen=True, slots=True)
class Kind:
    """What the URL of an index may say. A number that is 0 is chosen by the kind and the size of the space."""

    kind: str = "exact"  # exact | lsh | hnsw | ivf | pq
    floor: float = 0.0  # recall@100 against exact that a build must reach; breadth is doubled until it does
    least: int = 10_000  # smaller spaces are searched exactly, which is as fast and misses nothing
    breadth: int = 0  # what one search looks at: vectors (lsh, hnsw) or cells (ivf, pq)
    bits: int = 256  # of a code (lsh)
    links: int = 32  # of a vector (hnsw)
    cells: int = 0  # that the space is cut into (ivf, pq)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind is {self.kind!r}", where="stores.index", hint=f"choose one of: {', '.join(KINDS)}")
        if not 0 <= self.floor <= 1:
            raise ConfigError(f"floor is {self.floor}", where="stores.index", hint="recall is a share, such as 0.95")
        if min(self.least, self.breadth, self.cells) < 0 or self.bits < 64 or self.bits % 64 or self.links < 2:
            raise ConfigError(
                "an option of the index is out of range",
                where="stores.index",
                hint="bits is a multiple of 64, links at least 2, least, breadth and cells at least 0",
            )

    @property
    def built(self) -> Kind:
        """What a finder is made by: all but how it is asked."""
        return replace(self, floor=0.0, breadth=0)


def read(options: Mapping[str, str]) -> Kind:
    """A Kind from the query of a URL. ConfigError names an option that there is not, or a value that does not fit."""
    known: dict[str, Callable[[str], Any]] = {name: type(value) for name, value in asdict(Kind()).items()}
    given: dict[str, Any] = {}
    for name, text in options.items():
        if name not in known:
            hint = f"the options are: {', '.join(known)}"
            raise ConfigError(f"{name!r} is not an option of an index", where="stores.index", hint=hint)
        try:
            given[name] = known[name](text)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}", where="stores.index", hint="it takes a number") from None
    return Kind(**given)


class Finder(Protocol):
    """Proposes places of vectors that may be near, from what it was made of; it never changes, so threads share it."""

    @property
    def breadth(self) -> int: ...  # to start with

    @property
    def widest(self) -> int: ...  # at which more would find no more

    def near(self, asked: Vectors, count: int, breadth: int, open_: Mask | None) -> NDArray[np.int64]:
        """(B, M) places, at least `count` of them if it finds as many, -1 padded; only where `open_` (N,) is true."""

    def save(self, folder: Path) -> None:
        """Write it to files in `folder`."""


def make(kind: Kind, vectors: Vectors) -> Finder | None:
    """What `kind` finds with, None where it looks at everything."""
    if kind.kind == "exact" or len(vectors) < max(kind.least, 2):
        return None
    if kind.kind == "lsh":
        from shortlist.stores import lsh

        return lsh.make(vectors, kind.bits, kind.breadth)
    from shortlist.stores import faiss_finder

    return faiss_finder.make(kind, vectors)


def load(kind: Kind, folder: Path) -> Finder:
    """What `save` wrote to `folder`."""
    if kind.kind == "lsh":
        from shortlist.stores import lsh

        return lsh.load(folder, kind.breadth)
    from shortlist.stores import faiss_finder

    return faiss_finder.load(kind, folder)


__all__ = ["KINDS", "Finder", "Kind", "load", "make", "read"]
