"""faiss itself, in our own environment: the indexes its guide names for vectors that fit in memory."""

from pathlib import Path

import faiss
import numpy as np
from near import EF_BUILD, LINKS, K, Search, serve

FACTORY = {"hnsw": "HNSW{links},Flat", "ivf": "IVF{cells},SQ8"}


class Index:
    def __init__(self, kind: str, vectors: np.ndarray, folder: Path) -> None:
        faiss.omp_set_num_threads(1)
        cells = int(4 * len(vectors) ** 0.5)
        text = FACTORY[kind].format(cells=cells, links=LINKS)
        index = faiss.index_factory(vectors.shape[1], text, faiss.METRIC_INNER_PRODUCT)
        if kind == "hnsw":
            index.hnsw.efConstruction = EF_BUILD
        index.train(vectors)
        index.add(vectors)
        self.kind, self.index = kind, index

    def searcher(self, breadth: int, allowed: np.ndarray | None) -> Search:
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        given = {} if bits is None else {"sel": faiss.IDSelectorBitmap(bits)}
        if self.kind == "hnsw":
            how = faiss.SearchParametersHNSW(efSearch=breadth, **given)
        else:
            how = faiss.SearchParametersIVF(nprobe=breadth, **given)
        return lambda question: self.index.search(question, K, params=how)[1][0]


if __name__ == "__main__":
    serve(Index)
