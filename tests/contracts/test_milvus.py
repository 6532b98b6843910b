"""Milvus under the contract of every index, held against exact search: Milvus Lite in a file, and a real server."""

import os
import shutil
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from shortlist.errors import ConfigError, StoreError
from shortlist.stores import open_store
from shortlist.testing.stores import IndexContract
from tests.contracts import milvus_server


class Milvus(IndexContract):
    recall = 0.9
    filtered = 1000

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("pymilvus", reason='pymilvus is not installed: pip install "shortlist[milvus]"')


class TestMilvusLite(Milvus):
    @pytest.fixture(autouse=True)
    def lite(self) -> None:
        pytest.importorskip("milvus_lite", reason='milvus-lite is not installed: pip install "shortlist[milvus]"')

    def url(self, folder: Path) -> str:
        return f"milvus:{folder / 'vectors.db'}?floor=0.9"

    def test_options_that_do_not_fit_are_told(self, tmp_path: Path) -> None:
        for query, said in (("kind=fuzzy", "fuzzy"), ("speed=9", "speed"), ("floor=high", "floor")):
            with pytest.raises(ConfigError, match=said):
                open_store("index", f"milvus:{tmp_path / 'a.db'}?{query}")
        with pytest.raises(ConfigError, match="neither a file nor a server"):
            open_store("index", "milvus:vectors")

    def test_a_reader_changes_nothing(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            index.build("a", np.array([1], np.int32), np.ones((1, 3), np.float32))
        index = open_store("index", self.url(tmp_path), read_only=True)
        with pytest.raises(StoreError, match="reading only"):
            index.build("a", np.array([2], np.int32), np.ones((1, 3), np.float32))
        assert index.search("a", np.ones((1, 3), np.float32), 2)[0].tolist() == [[1, -1]]
        index.close()  # type: ignore[attr-defined]


@pytest.mark.slow
class TestMilvusServer(Milvus):
    """Run inside `milvus_server.alone` only."""

    @pytest.fixture(autouse=True)
    def inside(self) -> None:
        if "SHORTLIST_TEST_MILVUS" not in os.environ:
            pytest.skip("run by test_a_real_server_keeps_the_contract")

    def url(self, folder: Path) -> str:
        return (
            f"milvus://{os.environ['SHORTLIST_TEST_MILVUS']}?floor=0.9&timeout=30&prefix=t{crc32(str(folder).encode())}"
        )


@pytest.mark.slow
def test_a_real_server_keeps_the_contract() -> None:
    if milvus_server.executable() is None:
        pytest.skip("no Milvus server on this machine: pip install milvus==2.3.5")
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a network of its own for the server needs unshare and root")
    done = milvus_server.alone(f"{__file__}::TestMilvusServer")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
