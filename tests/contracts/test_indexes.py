"""The kinds of index that are not exact, each reaching a floor at its build, under the contract of all of them."""

from pathlib import Path

import pytest

from shortlist.testing.stores import IndexContract


class Approximate(IndexContract):
    recall = 0.9
    filtered = 12_000
    kind = ""

    def url(self, folder: Path) -> str:
        return f"file:{folder / 'data'}?kind={self.kind}&least=100&floor=0.95"


class TestLsh(Approximate):
    kind = "lsh"


class Faiss(Approximate):
    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("faiss", reason='faiss is not installed: pip install "shortlist[ann]"')


class TestHnsw(Faiss):
    kind = "hnsw"


class TestIvf(Faiss):
    kind = "ivf"


class TestPq(Faiss):
    kind = "pq"
    filtered = 6000
