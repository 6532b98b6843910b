from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.errors import StoreError
from shortlist.stores import embedded_catalog
from shortlist.stores.arrays import Growing, pack, unpack
from shortlist.stores.embedded import Embedded


def facts(store: Embedded) -> list[Any]:
    rows = np.arange(store.catalog.size("item"), dtype=np.int32)
    read = store.catalog.read("item", rows, store.catalog.names("item"))
    return [store.catalog.ids("item", rows), {name: column.tolist() for name, column in read.items()}]


def put_some(store: Embedded, rng: np.random.Generator) -> None:
    ids = [f"{n}" for n in rng.integers(0, 30, 4)]
    rows = store.catalog.rows("item", ids, create=True)
    store.catalog.put("item", rows, {"stock": rng.integers(0, 9, 4).astype(np.float64), "name": np.array(ids)})


def test_compaction_changes_nothing_and_a_reader_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_catalog, "COMPACT_WHILE_OPEN", 5)
    monkeypatch.setattr(embedded_catalog, "COMPACT_AT_OPEN", 2)
    monkeypatch.setattr(embedded_catalog, "CHUNK", 4)
    rng = np.random.default_rng(5)
    with Embedded.open(tmp_path) as writer, Embedded.open(tmp_path, read_only=True) as reader:
        for n in range(40):
            put_some(writer, rng)
            if n % 3 == 0:
                reader.refresh()
                assert facts(reader) == facts(writer)
        expected, version = facts(writer), writer.catalog.version("item")
        with pytest.raises(StoreError, match="for reading only"):
            reader.catalog.rows("item", ["new"], create=True)
    for _ in range(2):
        with Embedded.open(tmp_path) as writer:
            assert facts(writer) == expected
            assert writer.catalog.version("item") >= version
            with writer._database.read() as sql:
                assert sql.execute("SELECT count(*) FROM fact").fetchone()[0] <= 8


def test_ids_with_a_gap_are_damage(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as store:
        store.catalog.rows("item", ["a", "b", "c"], create=True)
        with store._database.write() as sql:
            sql.execute("DELETE FROM item_id WHERE row = 1")
    with Embedded.open(tmp_path) as store, pytest.raises(StoreError, match="gaps or repeats"):
        _ = store.catalog


def test_times_may_come_as_datetime64() -> None:
    with Embedded.memory() as store:
        rows = store.catalog.rows("item", ["a", "b"], create=True)
        store.catalog.put("item", rows, {"added": np.array(["2024-02-29T12:00", "NaT"], "datetime64[s]")})
        added = store.catalog.read("item", rows, ["added"])["added"]
        assert added.tolist() == [1_709_208_000_000_000, -1]


def test_packed_columns_come_back() -> None:
    columns = {
        "number": np.array([[1.5, np.nan]], np.float32),
        "code": np.array([7], np.uint8),
        "text": np.array(["é"], object),
        "tags": np.fromiter([("a", "b")], object, 1),
    }
    found = unpack(pack(columns))
    for name, column in columns.items():
        assert (found[name].dtype, found[name].shape) == (column.dtype, column.shape)
        np.testing.assert_array_equal(found[name], column)


def test_a_growing_column_leaves_what_was_read_alone() -> None:
    column = Growing(np.float64, np.nan)
    column.writable(1)[0] = 1
    before = column.values
    column.writable(10)[9] = 2
    rows = np.array([0, 9, 8, 10, 2**31 - 1, -1, -(2**31)], np.int32)
    np.testing.assert_equal(column.read(rows).tolist(), [1, 2] + [np.nan] * 5)
    assert before[0] == 1
