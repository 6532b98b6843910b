"""What is kept of a catalogue: worked out again for the items that changed, and for no other."""

from typing import Any

import numpy as np
import pytest

from shortlist.derived import ItemVectors
from shortlist.protocols import Catalog
from shortlist.stores import open_store
from shortlist.types import Columns, Rows, Vectors

NAMES = ("kind", "price", "tags", "new", "since")


class Worked:
    """Vectors by price and number of tags, and of which rows they were asked."""

    def __init__(self, catalog: Catalog) -> None:
        self.asked: list[list[int]] = []
        self.vectors = ItemVectors(catalog, NAMES, 2, self._work)

    def _work(self, rows: Rows, columns: Columns) -> Vectors:
        self.asked.append(rows.tolist())
        price = np.nan_to_num(columns["price"]) if "price" in columns else np.zeros(len(rows))
        tags = [len(each) for each in columns["tags"]] if "tags" in columns else [0] * len(rows)
        return np.stack((price, tags), axis=1).astype(np.float32)


def facts(rows: int) -> dict[str, Any]:
    tags = np.empty(rows, object)
    tags[:] = [("a", "b")[: row % 3] for row in range(rows)]
    price = np.arange(rows, dtype=np.float64)
    price[::4] = np.nan
    kind = np.array(["x", "y"] * rows, object)[:rows]
    return {"kind": kind, "price": price, "tags": tags, "new": np.ones(rows, np.bool_), "since": np.arange(rows)}


@pytest.fixture
def catalog() -> Catalog:
    opened = open_store("catalog", "memory:")
    opened.put("item", opened.rows("item", [f"i{row}" for row in range(9)], create=True), facts(9))
    return opened


def row(number: int) -> Rows:
    return np.array([number], np.int32)


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_fact_of_any_kind_is_one_item(catalog: Catalog, name: str) -> None:
    worked = Worked(catalog)
    worked.vectors()
    other = {"kind": "z", "price": 99.0, "tags": ("c",), "new": False, "since": 77}[name]
    column = np.empty(1, object)
    column[0] = other
    catalog.put("item", row(4), {name: column})
    worked.vectors()
    assert worked.asked == [list(range(9)), [4]]


def test_what_did_not_change_is_not_worked_out(catalog: Catalog) -> None:
    worked = Worked(catalog)
    first = worked.vectors()
    catalog.put("item", row(0), {"price": np.array([np.nan])})  # it had none
    catalog.put("item", row(3), {"colour": np.array(["red"], object)})  # nobody reads it
    second = worked.vectors()
    assert worked.asked == [list(range(9)), []]
    np.testing.assert_array_equal(first, second)
    catalog.put("item", row(0), {"price": np.array([5.0])})
    new = catalog.rows("item", ["new one"], create=True)
    third = worked.vectors()
    assert worked.asked[2:] == [[0, 9]]
    catalog.put("item", new, {"price": np.array([7.0])})
    catalog.remove("item", row(5))
    fourth = worked.vectors()
    assert worked.asked[3:] == [[5, 9]]
    assert [each.tolist() for each in (second[0], third[0], third[9], fourth[9], fourth[5])] == [
        [0, 0], [5, 0], [0, 0], [7, 0], [0, 0],
    ]  # fmt: skip
    np.testing.assert_array_equal(fourth, Worked(catalog).vectors())


def test_a_column_that_comes_later_is_read_of_all() -> None:
    catalog = open_store("catalog", "memory:")
    worked = Worked(catalog)
    assert worked.vectors().shape == (0, 2)
    rows = catalog.rows("item", ["a", "b"], create=True)
    assert worked.vectors().tolist() == [[0, 0], [0, 0]]
    catalog.put("item", rows[1:], {"price": np.array([3.0])})
    assert worked.vectors().tolist() == [[0, 0], [3, 0]]
    assert worked.asked == [[], [0, 1], [0, 1]]
