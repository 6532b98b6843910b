"""usearch 2.26.6, in an environment of its own."""

from pathlib import Path

import numpy as np
from near import EF_BUILD, LINKS, K, Search, serve
from usearch.index import Index as Graph


class Index:
    def __init__(self, kind: str, vectors: np.ndarray, folder: Path) -> None:
        self.index = Graph(ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_add=EF_BUILD)
        self.index.add(np.arange(len(vectors)), vectors, threads=1)

    def searcher(self, breadth: int, allowed: np.ndarray | None) -> Search:
        if allowed is not None:
            raise ValueError("usearch 2.26.6 has no filter in its Python package")
        self.index.expansion_search = breadth
        return lambda question: self.index.search(question[0], K, threads=1).keys.astype(np.int64)


if __name__ == "__main__":
    serve(Index)
