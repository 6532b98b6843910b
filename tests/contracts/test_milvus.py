"""Milvus under the contract of every index, held against exact search: Milvus Lite in a file."""

from pathlib import Path

import pytest

from shortlist.testing.stores import IndexContract


class TestMilvusLite(IndexContract):
    recall = 0.9
    filtered = 1000

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        for each in ("pymilvus", "milvus_lite"):
            pytest.importorskip(each, reason=f'{each} is not installed: pip install "shortlist[milvus]"')

    def url(self, folder: Path) -> str:
        return f"milvus:{folder / 'vectors.db'}?floor=0.9"
