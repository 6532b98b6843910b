"""What every Catalog must keep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import ConfigError, DataError, ShapeError
from shortlist.protocols import Catalog
from shortlist.stores import open_store
from shortlist.testing.store_contract import StoreContract, at, closed, in_threads, quick

legal_ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=64)
KINDS_OF_COLUMNS: dict[str, Any] = {
    "title": st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    "price": st.floats(allow_infinity=False, width=64),
    "added": st.integers(-(2**63), 2**63 - 1),
    "ready": st.booleans(),
    "tags": st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=3).map(tuple),
}
DTYPES: dict[str, Any] = {
    "title": object, "price": np.float64, "added": np.int64, "ready": np.int8, "tags": object
}  # fmt: skip
BLANKS: dict[str, Any] = {"title": "", "price": np.nan, "added": -1, "ready": -1, "tags": ()}


def _column(name: str, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.fromiter(values, DTYPES[name], len(values))


class CatalogContract(StoreContract):
    """For every Catalog."""

    def open(self, folder: Path) -> Any:
        return closed(open_store("catalog", self.url(folder)))

    def test_any_text_is_an_id_and_comes_back_exactly(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            _check_ids_round_trip(catalog)

    def test_ids_that_look_alike_are_not_merged(self, tmp_path: Path) -> None:
        alike = ["1", "01", "1.0", " 1", "1 ", "é", "e\u0301", "../x", "a:b", "a%3Ab", "NULL", "😀", "A", "a"]
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", alike, create=True)
            assert rows.tolist() == list(range(len(alike)))
            assert catalog.ids("item", rows) == alike

    def test_rows_are_handed_out_in_order_and_only_once(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            assert catalog.rows("item", ["b", "a", "b"], create=True).tolist() == [0, 1, 0]
            assert catalog.rows("item", ["c", "a"], create=True).tolist() == [2, 1]
            assert catalog.rows("user", ["a"], create=True).tolist() == [0]
            assert (catalog.size("item"), catalog.size("user")) == (3, 1)

    def test_unknown_ids_are_minus_one_and_stay_unknown(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ["a", ""])
            assert rows.dtype == np.int32
            assert rows.tolist() == [-1, -1]
            assert catalog.size("item") == 0
            assert catalog.ids("item", at(-1, 5)) == ["", ""]

    @pytest.mark.parametrize("bad", ["", "x" * 257, "é" * 129, "a\x00b", "a\nb", "\t", "\ud800"])
    def test_a_bad_id_is_refused_and_the_others_of_its_call_are_not_made(self, tmp_path: Path, bad: str) -> None:
        with self.open(tmp_path) as catalog:
            with pytest.raises(DataError, match="id") as caught:
                catalog.rows("item", ["good", bad], create=True)
            assert caught.value.hint
            assert catalog.size("item") == 0
            assert catalog.rows("item", ["x" * 256, "é" * 128], create=True).tolist() == [0, 1]

    def test_an_id_that_is_not_text_is_refused_with_the_text_it_may_mean(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog, pytest.raises(DataError, match="not text") as caught:
            catalog.rows("item", [7], create=True)
        assert "'7'" in caught.value.hint

    def test_puts_merge_and_none_removes(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            _check_puts_merge(catalog)

    def test_every_type_reads_as_it_was_put_and_blank_elsewhere(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ["a", "b"], create=True)
            columns = {
                "title": np.array(["A"], object),
                "price": np.array([1.5]),
                "added": np.array([1_700_000_000_000_000]),
                "ready": np.array([True]),
                "tags": _column("tags", [("x", "y")]),
            }
            catalog.put("item", rows[1:], columns)
            assert catalog.names("item") == sorted(columns)
            assert list(catalog.names("user")) == []
            read = catalog.read("item", at(1, 0, -1, 99), list(columns))
            for name, column in columns.items():
                assert read[name].dtype == DTYPES[name], name
                blank = BLANKS[name]
                np.testing.assert_equal(read[name].tolist(), [column[0], blank, blank, blank])

    def test_of_a_row_given_twice_the_last_value_holds(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            row = catalog.rows("item", ["a"], create=True)[0]
            catalog.put("item", at(row, row), {"price": np.array([1.0, 2.0])})
            assert catalog.read("item", at(row), ["price"])["price"].tolist() == [2.0]

    def test_another_type_is_refused_by_name_and_changes_nothing(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ["a", "b"], create=True)
            catalog.put("item", rows, {"price": np.array([1.0, 2.0])})
            before = catalog.version("item")
            mixed = np.array([3.0, "cheap"], object)
            with pytest.raises(DataError, match=r"'price' of item holds values of type number.*'cheap'.*for 'b'"):
                catalog.put("item", rows, {"title": np.array(["A", "B"], object), "price": mixed})
            with pytest.raises(DataError, match="number"):
                catalog.put("item", rows, {"price": np.array([1, 2], np.int64)})
            with pytest.raises(DataError, match="infinite"):
                catalog.put("item", rows, {"price": np.array([1, np.inf])})
            assert catalog.names("item") == ["price"]
            assert catalog.version("item") == before
            assert catalog.read("item", rows, ["price"])["price"].tolist() == [1.0, 2.0]

    def test_questions_about_what_is_not_there_say_what_is(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            row = catalog.rows("item", ["a"], create=True)
            catalog.put("item", row, {"price": np.array([1.0])})
            with pytest.raises(ConfigError, match=r"no column 'prise'.*did you mean 'price'"):
                catalog.read("item", row, ["prise"])
            with pytest.raises(ConfigError, match="no entity 'shop'"):
                catalog.size("shop")
            with pytest.raises(ShapeError, match="no item row 7"):
                catalog.put("item", at(7), {"price": np.array([1.0])})
            with pytest.raises(ShapeError, match="2 rows, expected 1"):
                catalog.put("item", row, {"price": np.array([1.0, 2.0])})

    def test_the_version_grows_with_every_change(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            seen = [catalog.version("item")]
            row = catalog.rows("item", ["a"], create=True)
            seen.append(catalog.version("item"))
            for price in (1.0, 2.0):
                catalog.put("item", row, {"price": np.array([price])})
                seen.append(catalog.version("item"))
            catalog.rows("item", ["a"], create=True)
            catalog.rows("user", ["u"], create=True)
            assert all(a < b for a, b in pairwise(seen))
            assert catalog.version("item") == seen[-1]

    def test_what_was_acknowledged_is_there_after_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        ids = ["01", "1", "😀"]
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ids, create=True)
            catalog.put(
                "item", rows, {"price": np.array([1.0, 2.0, 3.0]), "tags": _column("tags", [("a",), (), ("b",)])}
            )
            catalog.put("item", rows[:1], {"price": np.array([None], object), "title": np.array(["x"], object)})
            before = catalog.version("item")
        with self.open(tmp_path) as catalog:
            assert catalog.version("item") >= before
            assert catalog.ids("item", rows) == ids
            read = catalog.read("item", rows, ["price", "tags", "title"])
            np.testing.assert_equal(read["price"].tolist(), [np.nan, 2.0, 3.0])
            assert read["tags"].tolist() == [("a",), (), ("b",)]
            assert read["title"].tolist() == ["x", "", ""]
            assert catalog.rows("item", ["new", "01"], create=True).tolist() == [3, 0]
            with pytest.raises(DataError):
                catalog.put("item", rows[:1], {"price": np.array(["dear"])})

    def test_what_is_removed_keeps_its_row_and_nothing_else(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ["a", "b", "c"], create=True)
            catalog.put("item", rows, {"price": np.array([1.0, 2.0, 3.0]), "title": np.array(["A", "B", "C"])})
            before = catalog.version("item")
            catalog.remove("item", at(1, 1, -1, 99))
            removed = catalog.version("item")
            assert removed > before
            assert catalog.present("item", at(0, 1, 2, -1, 99)).tolist() == [True, False, True, False, False]
            assert (catalog.size("item"), catalog.ids("item", at(1)), list(catalog.names("item"))) == (
                3,
                ["b"],
                ["price", "title"],
            )
            np.testing.assert_equal(catalog.read("item", rows, ["price"])["price"].tolist(), [1.0, np.nan, 3.0])
            assert catalog.read("item", rows, ["title"])["title"].tolist() == ["A", "", "C"]
            catalog.remove("item", at(1))
            assert catalog.version("item") == removed
            assert catalog.rows("item", ["d", "b"], create=True).tolist() == [3, 1]
            assert catalog.present("item", at(1, 3)).tolist() == [False, True]

    def test_a_put_brings_back_what_was_removed(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("item", ["a", "b"], create=True)
            catalog.put("item", rows, {"price": np.array([1.0, 2.0]), "title": np.array(["A", "B"])})
            for columns in ({"price": np.array([5.0, 6.0])}, {}):
                catalog.remove("item", rows)
                before = catalog.version("item")
                catalog.put("item", rows, columns)
                assert catalog.version("item") > before
                assert catalog.present("item", rows).all()
                assert catalog.read("item", rows, ["title"])["title"].tolist() == ["", ""]
            np.testing.assert_equal(catalog.read("item", rows, ["price"])["price"].tolist(), [np.nan, np.nan])

    def test_removal_survives_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("user", ["a", "b", "c"], create=True)
            catalog.put("user", rows, {"age": np.array([1.0, 2.0, 3.0])})
            catalog.remove("user", rows[:2])
            catalog.put("user", rows[1:2], {})
        with self.open(tmp_path) as catalog:
            assert catalog.present("user", rows).tolist() == [False, True, True]
            np.testing.assert_equal(catalog.read("user", rows, ["age"])["age"].tolist(), [np.nan, np.nan, 3.0])

    def test_an_erased_user_is_unknown_and_not_made_again_until_lifted(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("user", ["a", "b", "c"], create=True)
            facts = {"age": np.array([1.0, 2.0, 3.0]), "town": np.array(["A", "B", "C"])}
            catalog.put("user", rows, facts)
            catalog.put("user", rows[1:2], {"town": np.array(["BB"])})
            before = catalog.version("user")
            catalog.erase("b", 1)
            catalog.erase("b", 2)
            catalog.erase("nobody", 3)
            assert catalog.version("user") > before
            assert catalog.rows("user", ["a", "b", "c", ""]).tolist() == [0, -1, 2, -1]
            assert (catalog.ids("user", rows), catalog.present("user", rows).tolist()) == (
                ["a", "", "c"],
                [True, False, True],
            )
            assert catalog.read("user", rows, ["town"])["town"].tolist() == ["A", "", "C"]
            assert catalog.erased(["a", "b", "nobody", "e"]).tolist() == [False, True, True, False]
            assert catalog.rows("user", ["d", "b", "nobody"], create=True).tolist() == [3, -1, -1]
            catalog.put("user", rows, facts)  # by somebody who had asked for the row before
            assert catalog.read("user", rows, ["town"])["town"].tolist() == ["A", "", "C"]
            assert catalog.rows("item", ["b"], create=True).tolist() == [0]

    def test_an_erased_user_stays_so_after_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        with self.open(tmp_path) as catalog:
            rows = catalog.rows("user", ["a", "b", "c"], create=True)
            catalog.put("user", rows, {"town": np.array(["A", "B", "C"])})
            catalog.erase("b", 1)
        with self.open(tmp_path) as catalog:
            assert catalog.rows("user", ["a", "b", "c", "d"], create=True).tolist() == [0, -1, 2, 3]
            assert (catalog.ids("user", rows), catalog.rows("user", [""])[0]) == (["a", "", "c"], -1)
            assert catalog.read("user", rows, ["town"])["town"].tolist() == ["A", "", "C"]
            assert catalog.erased(["a", "b"]).tolist() == [False, True]

    def test_threads_that_name_the_same_ids_get_the_same_rows(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as catalog:
            ids = [[f"{(n * 7 + i) % 60}" for i in range(40)] for n in range(6)]
            found = in_threads(6, lambda n: [catalog.rows("user", [id], create=True).item() for id in ids[n]])
            assert catalog.size("user") == len({id for each in ids for id in each})
            for mine, rows in zip(ids, found, strict=True):
                assert catalog.ids("user", np.array(rows, np.int32)) == mine


def _check_ids_round_trip(catalog: Catalog) -> None:
    @quick
    @given(st.lists(legal_ids, max_size=20))
    def check(ids: list[str]) -> None:
        rows = catalog.rows("item", ids, create=True)
        assert catalog.ids("item", rows) == ids
        assert catalog.rows("item", ids).tolist() == rows.tolist()
        assert len(set(rows.tolist())) == len(set(ids))

    check()


def _check_puts_merge(catalog: Catalog) -> None:
    rows = catalog.rows("item", [f"{n}" for n in range(4)], create=True)
    expected: list[dict[str, Any]] = [{} for _ in rows]
    value = {name: st.none() | values for name, values in KINDS_OF_COLUMNS.items()}

    @quick
    @given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.data())
    def check(picked: list[int], data: st.DataObject) -> None:
        names = data.draw(st.lists(st.sampled_from(sorted(value)), min_size=1, unique=True))
        size = len(picked)
        chosen = {name: data.draw(st.lists(value[name], min_size=size, max_size=size)) for name in names}
        for name, drawn in chosen.items():
            if any(each is not None for each in drawn) or name in catalog.names("item"):
                for row, each in zip(picked, drawn, strict=True):
                    expected[row][name] = BLANKS[name] if each is None else each
        columns = {name: np.fromiter(drawn, object, size) for name, drawn in chosen.items()}
        catalog.put("item", np.array(picked, np.int32), columns)
        for name in catalog.names("item"):
            read = catalog.read("item", rows, [name])[name].tolist()
            np.testing.assert_equal(read, [facts.get(name, BLANKS[name]) for facts in expected])

    # integers in an object array are numbers, so the time column is named first
    catalog.put("item", rows[:1], {"added": np.array([5])})
    expected[0]["added"] = 5
    check()
