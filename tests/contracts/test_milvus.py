"""Milvus under the contract of every index, held against exact search: Milvus Lite in a file, and a real server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from shortlist.errors import ConfigError, NotFound, StoreError
from shortlist.stores import open_store
from shortlist.testing.store_contract import at, closed
from shortlist.testing.stores import IndexContract
from shortlist.types import Ragged
from tests.contracts import milvus_server

ONE = np.ones((1, 3), np.float32)


class Killed(BaseException):
    """The process ends here: nothing of it runs after that."""


class Mortal:
    """A client that dies at the n-th request that changes something."""

    CHANGES = ("create_collection", "drop_collection", "upsert", "delete", "flush")

    def __init__(self, client: Any, after: int) -> None:
        self._client, self._left, self.dead = client, after, False

    def __getattr__(self, name: str) -> Any:
        if self.dead:
            raise Killed
        if name in self.CHANGES:
            self._left -= 1
            if self._left < 0:
                self.dead = True
                raise Killed
        return getattr(self._client, name)


class Milvus(IndexContract):
    recall = 0.9
    filtered = 1000

    @pytest.fixture(autouse=True)
    def installed(self) -> None:
        pytest.importorskip("pymilvus", reason='pymilvus is not installed: pip install "shortlist[milvus]"')

    def swept(self, folder: Path) -> str:
        """The same place, where what a crash left is swept at once."""
        return f"{self.url(folder)}&orphaned=0&kind=exact"

    def collections(self, index: Any) -> tuple[set[str], set[str]]:
        """Those of this installation that are there, and those that there should be."""
        prefix = index._names.removesuffix("spaces")
        there = {each for each in index._client.list_collections(timeout=30) if each.startswith(prefix)}
        return there, {index._names, index._unnamed, *(each.collection for each in index._spaces.values())}

    @pytest.mark.parametrize("verb", ["build", "drop"])
    def test_whatever_a_crash_leaves_is_swept(self, verb: str, tmp_path: Path) -> None:
        """Before each change in turn the process ends: the space is the old or the new one, nothing else is left."""
        with closed(open_store("index", self.swept(tmp_path))) as index:
            index.build("b", at(7), ONE)
        rows = []
        for after in count():
            index: Any = open_store("index", self.swept(tmp_path))
            if verb == "drop" or not rows:
                index.build("a", at(1), ONE)
                rows = [1]
            client = index._client
            index._client = Mortal(client, after)
            with suppress(Killed):
                index.build("a", at(after + 2), ONE) if verb == "build" else index.drop("a")
            ended = not index._client.dead
            client.close()
            with closed(open_store("index", self.swept(tmp_path))) as index:
                there, named = self.collections(index)
                assert there == named
                assert not index._table(index._unnamed)
                assert index.search("b", ONE, 2)[0].tolist() == [[7, -1]]
                if verb == "build":
                    found = index.search("a", ONE, 2)[0].tolist()
                    assert found in ([[rows[-1], -1]], [[after + 2, -1]])
                    rows.append(found[0][0])
                elif ended:
                    with pytest.raises(NotFound):
                        index.search("a", ONE, 2)
            if ended:
                break
        assert after >= (8 if verb == "build" else 4)
        if verb == "build":
            assert rows[1] == 1, "killed before anything happened"
            assert rows[-1] == after + 2

    def test_a_build_that_goes_on_elsewhere_is_not_swept(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as building, self.open(tmp_path) as other:
            measured, seen = building._measured, []

            def meanwhile(*given: Any) -> Any:
                with self.open(tmp_path):  # another process begins, and one that is there builds
                    other.build("b", at(7), ONE)
                seen.append(self.collections(other))
                return measured(*given)

            building._measured = meanwhile
            building.build("a", at(1), ONE)
            there, named = seen[0]
            assert len(there - named) == 1, "what is being built"
            assert building.search("a", ONE, 1)[0].tolist() == [[1]]

    def test_a_space_that_another_process_builds_anew_is_found(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as mine, self.open(tmp_path) as other:
            mine.build("a", at(1, 2), np.eye(2, 3, dtype=np.float32))
            other.build("a", at(3), ONE)
            assert mine.search("a", ONE, 2)[0].tolist() == [[3, -1]]
            other.build("a", at(4), ONE)
            mine.upsert("a", at(5), 2 * ONE)
            assert other.search("a", ONE, 3)[0].tolist() == [[5, 4, -1]]
            other.build("a", at(6, 7), np.ones((2, 3), np.float32))
            mine.remove("a", at(7))
            assert mine.search("a", ONE, 2)[0].tolist() == [[6, -1]]
            other.drop("a")
            with pytest.raises(NotFound, match="no space 'a'"):
                mine.search("a", ONE, 2)
            mine.remove("a", at(7))

    def test_it_agrees_with_the_exact_index(self, tmp_path: Path) -> None:
        """Through builds, changes, exclusions and masks: the same rows as the embedded index, ties aside."""
        rng = np.random.default_rng(5)
        mine_is = closed(open_store("index", f"{self.url(tmp_path)}&kind=exact"))
        with mine_is as mine, closed(open_store("index", "memory:")) as exact:
            for metric in ("inner", "cosine"):
                vectors = rng.normal(size=(400, 12)).astype(np.float32)
                for index in (mine, exact):
                    index.build(metric, np.arange(400, dtype=np.int32), vectors, metric=metric)
                    index.upsert(metric, at(3, 500), np.stack((vectors[7], 2 * vectors[9])), metric=metric)
                    index.remove(metric, at(8, 9))
                asked = rng.normal(size=(130, 12)).astype(np.float32)
                mask = rng.random(450) < 0.3
                lists = [{"item": rng.choice(400, 40)} for _ in asked]
                exclude = Ragged.of(lists, {"item": np.int32})
                (row, score), (expected, best) = (
                    index.search(metric, asked, 25, metric=metric, exclude=exclude, allowed=mask)
                    for index in (mine, exact)
                )
                np.testing.assert_allclose(score, best, rtol=1e-4, atol=1e-4)
                for b in range(len(asked)):
                    clear = np.abs(np.diff(best[b], append=best[b, -1])) > 1e-4
                    clear[1:] &= clear[:-1]
                    assert (row[b][clear] == expected[b][clear]).all()


class TestMilvusLite(Milvus):
    @pytest.fixture(autouse=True)
    def lite(self) -> None:
        pytest.importorskip("milvus_lite", reason='milvus-lite is not installed: pip install "shortlist[milvus]"')

    def url(self, folder: Path) -> str:
        return f"milvus:{folder / 'vectors.db'}?floor=0.9&deadline=30&timeout=30"

    def test_options_that_do_not_fit_are_told(self, tmp_path: Path) -> None:
        for query, said in (
            ("kind=fuzzy", "fuzzy"), ("speed=9", "speed"), ("floor=high", "floor"), ("deadline=0", "deadline 0"),
        ):  # fmt: skip
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

    def test_more_rows_than_one_answer_holds_are_looked_at_all_the_same(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rng = np.random.default_rng(2)
        held = rng.normal(size=(90, 4)).astype(np.float32)
        allowed = rng.random(90) < 0.7
        monkeypatch.setattr("shortlist.stores.milvus.MOST", 20)
        with self.open(tmp_path) as index:
            index.build("a", np.arange(90, dtype=np.int32), held)
            found, score = index.search("a", held[:2], 90, allowed=allowed)
        true = held[:2] @ held.T
        for b in range(2):
            expected = np.flatnonzero(allowed)[np.argsort(-true[b][allowed], kind="stable")]
            assert found[b].tolist() == [*expected.tolist(), *[-1] * (90 - len(expected))]
            np.testing.assert_allclose(score[b, : len(expected)], true[b, expected], atol=1e-5)

    def test_no_request_is_without_a_deadline(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            asked: list[tuple[str, Any]] = []

            class Watched:
                def __getattr__(self, name: str, client: Any = index._client) -> Any:
                    verb = getattr(client, name)
                    if name in ("create_schema", "prepare_index_params", "close"):
                        return verb

                    def timed(*given: Any, **named: Any) -> Any:
                        asked.append((name, named.get("timeout")))
                        return verb(*given, **named)

                    return timed

            index._client = Watched()
            index.build("a", at(1, 2), np.eye(2, 3, dtype=np.float32))
            index.upsert("a", at(3), ONE)
            index.remove("a", at(1))
            index.search("a", ONE, 9)  # more than there are: every row is looked at
            index.spaces()
            index.drop("a")
        assert {"search", "query", "upsert", "delete", "flush", "create_collection"} <= {name for name, _ in asked}
        assert all(0 < seconds <= 30 for _, seconds in asked), asked


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[milvus_server.Server]:
    started = milvus_server.Server(tmp_path_factory.mktemp("milvus"))
    started.start()
    yield started
    started.kill()


@pytest.mark.slow
class TestMilvusServer(Milvus):
    """Run inside `milvus_server.alone` only."""

    @pytest.fixture(autouse=True)
    def inside(self, request: pytest.FixtureRequest) -> None:
        if milvus_server.INSIDE not in os.environ:
            pytest.skip("run by test_a_real_server_keeps_the_contract")
        request.getfixturevalue("server")

    def url(self, folder: Path) -> str:
        place = f"milvus://127.0.0.1:{milvus_server.PORT}"
        return f"{place}?floor=0.9&timeout=60&deadline=30&prefix=t{crc32(str(folder).encode())}"

    def test_a_server_that_does_not_answer_is_given_up(self, tmp_path: Path, server: milvus_server.Server) -> None:
        with self.open(tmp_path) as index:
            index.build("a", at(1), ONE)
            index._options = replace(index._options, deadline=1.0, timeout=1.0)
            server.freeze()
            try:
                with pytest.raises(StoreError, match=str(milvus_server.PORT)):
                    index.search("a", ONE, 1)
                with pytest.raises(StoreError, match=str(milvus_server.PORT)):
                    index.upsert("a", at(2), ONE)
            finally:
                server.thaw()

    def test_the_connection_comes_back_with_the_server(self, tmp_path: Path, server: milvus_server.Server) -> None:
        """What was acknowledged is found by the same connection after the server was killed and started again."""
        with self.open(tmp_path) as index:
            index.build("a", at(1, 2), np.array([[1, 0, 0], [2, 0, 0]], np.float32))
            index.upsert("a", at(3), np.array([[3, 0, 0]], np.float32))
            index.remove("a", at(1))
            server.kill()
            with pytest.raises(StoreError, match=str(milvus_server.PORT)):
                index.search("a", ONE, 3)
            server.start()
            assert self.patient(lambda: index.search("a", ONE, 3)[0].tolist()) == [[3, 2, -1]]
            self.patient(lambda: index.build("a", at(9), ONE))
            assert index.search("a", ONE, 3)[0].tolist() == [[9, -1, -1]]

    def patient(self, work: Any) -> Any:
        """A server that has just begun to listen loads what it serves."""
        end = monotonic() + milvus_server.PATIENCE
        while monotonic() < end:
            with suppress(StoreError):
                return work()
        return work()


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
