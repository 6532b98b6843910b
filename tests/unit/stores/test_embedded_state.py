from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import StoreError
from shortlist.stores import embedded_state
from shortlist.stores.embedded import Embedded
from shortlist.stores.embedded_state import EmbeddedState
from shortlist.stores.lists import Lists, _merged, _merged_one
from shortlist.stores.space import Space
from shortlist.types import Columns, Ragged

rows = np.arange(6, dtype=np.int32)


def fill(store: Embedded, seed: int) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 6, 50).astype(np.int32)
    columns: Columns = {"time": rng.integers(0, 99, 50), "vector": rng.normal(size=(50, 2)).astype(np.float32)}
    store.state.push("user", "recent", owner, columns, 5)
    store.state.add("item", "clicks", owner, np.ones(50, np.float32))
    store.state.write("item", owner, {"taste": rng.normal(size=(50, 3))})


def contents(store: Embedded) -> list[object]:
    lists = store.state.lists("user", "recent", rows)
    read = {**store.state.read("item", rows, ["clicks"]), **store.state.read("item", rows, ["taste"])}
    return [lists.ptr.tolist(), *(each.tolist() for each in (lists["time"], lists["vector"], *read.values()))]


def test_a_snapshot_holds_everything_and_how_far_it_came(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as store:
        assert store.state.offset == ""
        for n in range(3):
            fill(store, n)
            store.state.offset = f"{n}"
            store.state.snapshot()
        expected = contents(store)
        fill(store, 9)
        assert len(list((tmp_path / "state").iterdir())) == 1
        (tmp_path / "state" / ".4.new").mkdir()
    with Embedded.open(tmp_path) as store:
        assert contents(store) == expected
        assert store.state.offset == "2"
        assert [path.name for path in (tmp_path / "state").iterdir()] == ["3"]
        fill(store, 4)
        store.state.snapshot()
        expected = contents(store)
    with Embedded.open(tmp_path, read_only=True) as store:
        assert contents(store) == expected
        store.state.clear()
        assert store.state.offset == ""
        assert np.isnan(store.state.read("item", rows, ["clicks"])["clicks"]).all()
        with pytest.raises(StoreError, match="for reading only"):
            store.state.snapshot()
    with Embedded.open(tmp_path) as store:
        assert contents(store) == expected


@pytest.mark.parametrize("damage", ["{", "{}"])
def test_a_damaged_snapshot_says_how_to_rebuild(tmp_path: Path, damage: str) -> None:
    with Embedded.open(tmp_path) as store:
        fill(store, 0)
        store.state.snapshot()
    (tmp_path / "state" / "1" / "state.json").write_text(damage)
    with Embedded.open(tmp_path) as store, pytest.raises(StoreError, match="is damaged") as caught:
        _ = store.state
    assert "rebuilt from the log" in caught.value.hint


def test_a_removed_snapshot_is_no_snapshot(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as store:
        fill(store, 0)
        store.state.offset = "5"
        store.state.snapshot()
    for path in sorted((tmp_path / "state").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "state").rmdir()
    with Embedded.open(tmp_path) as store:
        assert store.state.offset == ""
        store.state.snapshot()


def test_packing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Embedded.memory() as plain, Embedded.memory() as packed:
        for n in range(20):
            fill(plain, n)
            with monkeypatch.context() as often:
                often.setattr(embedded_state, "SPARE", 1)
                fill(packed, n)
        assert contents(plain) == contents(packed)
        assert packed.state._lists["user", "recent"].spare <= 60 < plain.state._lists["user", "recent"].spare


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 5), st.integers(1, 9))
def test_the_short_way_for_one_event_is_the_long_way(times: list[int], time: int, keep: int) -> None:
    old = Ragged(np.array([0, len(times)]), {"time": np.array(sorted(times), np.int64)})
    new = np.array([time])
    one, long = _merged_one(old["time"], new, keep), _merged(old, np.zeros(1, np.intp), new, keep)
    assert [each.tolist() for each in one] == [each.tolist() for each in long]


def test_lists_are_read_only() -> None:
    lists = Lists({"time": np.empty(0, np.int64)})
    lists.push(rows[:1], {"time": np.array([5])}, 3)
    with pytest.raises(ValueError, match="read-only"):
        lists.read(rows[:1])["time"][0] = 6


def test_a_reader_that_meets_a_new_snapshot_reads_that_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.array([0], np.int32)
    with Embedded.open(tmp_path) as writer:
        writer.state.write("user", row, {"age": np.array([1.0])})
        writer.state.snapshot()
        load, raced = EmbeddedState._load, []

        def late(self: EmbeddedState, folder: Path) -> None:
            if not raced:  # between the name and the files
                raced.append(folder)
                writer.state.write("user", row, {"age": np.array([2.0])})
                writer.state.snapshot()
            load(self, folder)

        monkeypatch.setattr(EmbeddedState, "_load", late)
        with Embedded.open(tmp_path, read_only=True) as reader:
            assert reader.state.read("user", row, ["age"])["age"].tolist() == [2.0]
        assert not raced[0].exists()


def test_an_index_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, vector = np.array([0], np.int32), np.ones((1, 2), np.float32)
    with Embedded.open(tmp_path) as writer:
        writer.index.build("space", row, vector)
        load, raced = Space.load, []

        def late(name: str, folder: Path, kind: Any, *, remake: bool) -> Space:
            if not raced:
                raced.append(folder)
                writer.index.build("space", row, 2 * vector)
            return load(name, folder, kind, remake=remake)

        monkeypatch.setattr(Space, "load", staticmethod(late))
        with Embedded.open(tmp_path, read_only=True) as reader:
            assert reader.index.search("space", vector, 1)[1].tolist() == [[4.0]]
        assert not raced[0].exists()
