"""Shortlist's index as everybody opens it, by URL. Another breadth is another URL."""

from pathlib import Path

import numpy as np

from benchmarks.peers.near import LINKS, K, Search, serve
from shortlist.stores import open_store
from shortlist.types import Mask

EVERYTHING = np.empty(0, np.bool_)


class Index:
    def __init__(self, kind: str, vectors: np.ndarray, folder: Path) -> None:
        self.url = f"file:{folder / f'shortlist-{kind}'}?kind={kind}&links={LINKS}"
        self.breadth = 0
        self.index = open_store("index", self.url)
        self.index.build("space", np.arange(len(vectors), dtype=np.int32), vectors, metric="cosine")

    def searcher(self, breadth: int, allowed: Mask | None) -> Search:
        if breadth != self.breadth:
            self.index.close()
            self.index = open_store("index", f"{self.url}&breadth={breadth}")
            self.breadth = breadth
        mask, search = EVERYTHING if allowed is None else allowed, self.index.search
        return lambda question: search("space", question, K, metric="cosine", allowed=mask)[0][0]


if __name__ == "__main__":
    serve(Index)
