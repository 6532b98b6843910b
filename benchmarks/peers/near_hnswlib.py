"""hnswlib 0.8.0, in an environment of its own."""

from pathlib import Path

import hnswlib
import numpy as np
from near import EF_BUILD, LINKS, K, Search, serve


class Index:
    def __init__(self, kind: str, vectors: np.ndarray, folder: Path) -> None:
        self.index = hnswlib.Index(space="ip", dim=vectors.shape[1])
        self.index.init_index(max_elements=len(vectors), M=LINKS, ef_construction=EF_BUILD, random_seed=17)
        self.index.set_num_threads(1)
        self.index.add_items(vectors, num_threads=1)

    def searcher(self, breadth: int, allowed: np.ndarray | None) -> Search:
        """Its filter is a Python function, asked about every vector that is met."""
        self.index.set_ef(breadth)
        may = None if allowed is None else allowed.tolist().__getitem__

        def search(question: np.ndarray) -> np.ndarray:
            return self.index.knn_query(question, K, num_threads=1, filter=may)[0][0].astype(np.int64)

        return search


if __name__ == "__main__":
    serve(Index)
