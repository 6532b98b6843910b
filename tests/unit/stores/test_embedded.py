import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from shortlist.errors import ConfigError, DataError, NotFound, StoreError, StoreLocked
from shortlist.stores.embedded import Embedded
from shortlist.types import Events

OPEN = """
import sys
from pathlib import Path
from shortlist.errors import ShortlistError
from shortlist.stores.embedded import Embedded
try:
    Embedded.open(Path(sys.argv[1])).close()
except ShortlistError as error:
    print(error, "|", error.hint)
    sys.exit(error.exit_code)
"""

WRITE = """
import sys
from pathlib import Path
import numpy as np
from shortlist.stores import embedded_log
from shortlist.stores.embedded import Embedded
from shortlist.types import Events

embedded_log.ROLL, embedded_log.BULK = 60, 20
store, start = Embedded.open(Path(sys.argv[1])), int(sys.argv[2])
catalog, log = store.catalog, store.log
for n in range(start, start + 100_000):
    size = 30 if n % 7 == 0 else 2
    user = catalog.rows("user", [f"u{n}"], create=True)
    catalog.put("user", user, {"n": np.array([float(n)])})
    number = np.arange(size, dtype=np.uint64) + np.uint64(1000 * n)
    rows = np.repeat(user, size)
    log.append(Events(rows, rows, np.zeros(size, np.uint8), np.ones(size, np.float32), np.full(size, n),
                      np.zeros(size, np.uint64), np.stack((number, number), axis=1)))
    print(n, size, flush=True)
"""


def event(numbers: Iterable[int]) -> Events:
    """One event for each number, which is its id."""
    n = np.array(list(numbers), np.int64)
    rows, id = np.zeros(len(n), np.int32), n.astype(np.uint64)
    kind, value = np.zeros(len(n), np.uint8), np.ones(len(n), np.float32)
    return Events(rows, rows, kind, value, n, np.zeros(len(n), np.uint64), np.stack((id, id), axis=1))


def seen(store: Embedded) -> list[int]:
    return [int(number) for _, events in store.log.scan() for number in events.id[:, 0]]


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    with Embedded.open(tmp_path):
        second = subprocess.run([sys.executable, "-c", OPEN, tmp_path], capture_output=True, text=True, check=False)
        assert second.returncode == StoreLocked.exit_code == 8, second.stderr
        assert f"being written by process {os.getpid()} (since 20" in second.stdout
        assert f"Stop process {os.getpid()}, or open the folder read-only." in second.stdout
        with pytest.raises(StoreLocked):
            Embedded.open(tmp_path)
    third = subprocess.run([sys.executable, "-c", OPEN, tmp_path], capture_output=True, text=True, check=False)
    assert third.returncode == 0, third.stdout


def test_dropping_a_store_lets_go_of_its_folder(tmp_path: Path) -> None:
    catalog = Embedded.open(tmp_path).catalog
    del catalog
    Embedded.open(tmp_path).close()


def test_what_was_acknowledged_survives_kill(tmp_path: Path) -> None:
    """The oracle is what the child printed after each append returned."""
    chance = random.Random(20)
    acknowledged: dict[int, int] = {}
    for start in range(0, 5_000, 1_000):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, tmp_path, str(start)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            for _ in range(chance.randint(1, 60)):
                n, size = map(int, child.stdout.readline().split())
                acknowledged[n] = size
            child.kill()
            for line in child.stdout:
                if line.endswith("\n"):
                    n, size = map(int, line.split())
                    acknowledged[n] = size
        with Embedded.open(tmp_path) as store:
            numbers = seen(store)
            assert len(set(numbers)) == len(numbers)
            expected = {1000 * n + each for n, size in acknowledged.items() for each in range(size)}
            assert expected <= set(numbers)
            rows = store.catalog.rows("user", [f"u{n}" for n in acknowledged])
            assert (rows >= 0).all()
            assert store.catalog.read("user", rows, ["n"])["n"].tolist() == list(acknowledged)
            assert not store.log.append(event(expected)).any()
            with store._database.read() as sql:
                assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(ConfigError, match="cannot be opened for writing") as caught:
            Embedded.open(folder)
        assert (caught.value.exit_code, str(folder) in str(caught.value)) == (5, True)
        assert "this user may create" in caught.value.hint
    with pytest.raises(NotFound, match="there is no store in"):
        Embedded.open(tmp_path / "new", read_only=True)
    assert not (tmp_path / "new").exists()


def test_a_newer_format_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    Embedded.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "shortlist.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="has format 99; this program reads format 2") as caught:
            Embedded.open(tmp_path, read_only=read_only)
        assert "newer" in caught.value.hint
    for leftover in tmp_path.glob("shortlist.db*"):
        leftover.unlink()
    (tmp_path / "shortlist.db").write_bytes(b"something else entirely" * 500)
    with pytest.raises(StoreError, match="not a database") as caught:
        Embedded.open(tmp_path)
    assert "backup" in caught.value.hint


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Embedded.open(tmp_path)
    log = store.log
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        log.end()


def test_meta_and_held_are_durable(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as store:
        assert store.meta.get("a", "none") == "none"
        store.meta.set("a", "1")
        store.meta.set("a", "2")
        assert store.held.add(["x", "y", "x"], ["1", "2", "3"]).tolist() == [True, True, True]
        assert store.held.add(["x", "y"], ["1", "1"]).tolist() == [False, True]
    with Embedded.open(tmp_path) as store:
        assert store.meta.get("a") == "2"
        assert (len(store.held), store.held.count()) == (4, {"x": 2, "y": 2})
        with suppress(DataError), store.held.take_for(["x", "z", "x"]) as events:
            assert events == ["1", "3"]
            raise DataError("the append failed")
        with store.held.take_for(["y", "x"]) as events:
            assert events == ["1", "2", "3", "1"]
        with store.held.take_for(["y", "x"]) as events:
            assert events == []
        assert len(store.held) == 0


def test_a_reader_sees_what_the_writer_acknowledged(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as writer, Embedded.open(tmp_path, read_only=True) as reader:
        _ = reader.catalog, reader.index
        for n in range(3):
            vector = np.full((1, 2), n + 1, np.float32)
            row = writer.catalog.rows("item", [f"{n}"], create=True)
            writer.index.build("a", row, vector)
            writer.index.upsert("a", row + 10, vector)
            writer.index.build(f"b{n}", row, vector)
            writer.index.drop(f"b{n - 1}")
            reader.refresh()
            assert reader.catalog.rows("item", [f"{n}"]).tolist() == [n]
            for space in ("a", f"b{n}"):
                for mine, theirs in zip(
                    reader.index.search(space, vector, 3), writer.index.search(space, vector, 3), strict=True
                ):
                    np.testing.assert_array_equal(mine, theirs)
        assert len(list((tmp_path / "index").iterdir())) == 2


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system of 4 MB of its own on `folder`."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(store: Embedded, size: int, acknowledged: list[int]) -> tuple[range, StoreError]:
    """Append `size` events at a time until the disk is full; returns those that were refused, and how."""
    for start in range(size * 1_000_000, size * 1_100_000, size):
        try:
            store.log.append(event(range(start, start + size)))
        except StoreError as error:
            return range(start, start + size), error
        acknowledged += range(start, start + size)
    raise AssertionError("the disk was never full")


def test_a_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with mounted(folder):
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(1 << 20))
        with Embedded.open(folder) as store:
            acknowledged: list[int] = []
            for size in (6_000, 2_000, 1):  # a segment, a long and a short row of the tail
                last, error = fill_up(store, size, acknowledged)
                assert (error.code, "no space left" in str(error)) == ("storage_full", True)
                assert "Free space" in error.hint
                assert seen(store) == acknowledged
            ballast.unlink()
            assert store.log.append(event(last)).all()
            acknowledged += last
            with pytest.raises(StoreError) as caught:
                store.index.build("big", np.arange(90_000, dtype=np.int32), np.zeros((90_000, 16), np.float32))
            assert caught.value.code == "storage_full"
        with Embedded.open(folder) as store:
            assert seen(store) == acknowledged


def test_a_read_only_disk(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with mounted(folder):
        with Embedded.open(folder) as store:
            store.log.append(event(range(10)))
            store.catalog.rows("item", ["a"], create=True)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(ConfigError, match="Read-only file system") as caught:
            Embedded.open(folder)
        assert caught.value.exit_code == 5
        with Embedded.open(folder, read_only=True) as store:
            assert seen(store) == list(range(10))
            assert store.catalog.size("item") == 1
