"""What every State must keep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import ConfigError, ShapeError
from shortlist.protocols import State
from shortlist.stores import open_store
from shortlist.testing.store_contract import StoreContract, at, closed, quick
from shortlist.types import HISTORY, Columns, Ragged


def _pushed(time: Sequence[int], mark: Sequence[int] | None = None) -> Columns:
    """Rows of a history; `mark` tells equal times apart."""
    size = len(time)
    return {
        "item": np.array(time if mark is None else mark, np.int32),
        "kind": np.zeros(size, np.uint8),
        "value": np.array(time, np.float32),
        "weight": np.ones(size, np.float32),
        "time": np.array(time, np.int64),
    }


def _lists_of(lists: Ragged, name: str) -> list[list[int]]:
    return [lists[name][a:b].tolist() for a, b in pairwise(lists.ptr.tolist())]


class StateContract(StoreContract):
    """For every State."""

    def open(self, folder: Path) -> Any:
        return closed(open_store("state", self.url(folder)))

    def test_what_was_not_written_is_nan(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            assert np.isnan(state.read("item", at(0, -1), ["never"])["never"]).all()
            state.write("item", at(2, 0), {"a": np.array([2.5, 0.5]), "b": np.array([7, 8])})
            read = state.read("item", at(0, 1, 2, 3, 10_000, -1), ["a", "b"])
            np.testing.assert_equal(read["a"].tolist(), [0.5, np.nan, 2.5, np.nan, np.nan, np.nan])
            np.testing.assert_equal(read["b"].tolist(), [8, np.nan, 7, np.nan, np.nan, np.nan])
            assert np.isnan(state.read("user", at(0), ["a"])["a"]).all()

    def test_times_are_kept_to_the_microsecond(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.write("user", at(0), {"last": np.array([1_893_456_000_000_001])})
            assert int(state.read("user", at(0), ["last"])["last"][0]) == 1_893_456_000_000_001

    def test_a_later_write_replaces_and_leaves_the_rest(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.write("item", at(0, 1), {"a": np.array([1.0, 2.0])})
            state.write("item", at(1), {"a": np.array([3.0]), "b": np.array([4.0])})
            read = state.read("item", at(0, 1), ["a", "b"])
            np.testing.assert_equal(read["a"].tolist(), [1.0, 3.0])
            np.testing.assert_equal(read["b"].tolist(), [np.nan, 4.0])

    def test_several_numbers_a_row(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.write("user", at(1), {"taste": np.array([[1.0, 2.0]])})
            read = state.read("user", at(0, 1), ["taste"])["taste"]
            np.testing.assert_equal(read.tolist(), [[np.nan, np.nan], [1.0, 2.0]])
            with pytest.raises(ShapeError, match="taste"):
                state.write("user", at(1), {"taste": np.array([1.0])})

    def test_repeated_rows_add_up(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        with self.open(tmp_path) as state:
            expected = np.zeros(50)
            for _ in range(3):
                rows, amount = rng.integers(0, 50, 400).astype(np.int32), rng.integers(-3, 9, 400).astype(np.float32)
                state.add("item", "clicks", rows, amount)
                expected += np.bincount(rows, amount, 50)
            np.testing.assert_allclose(
                state.read("item", np.arange(50, dtype=np.int32), ["clicks"])["clicks"], expected
            )

    def test_small_amounts_are_not_lost_in_large_sums(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.add("item", "n", at(0), np.array([2.0**24], np.float32))
            for _ in range(3):
                state.add("item", "n", at(0), np.ones(1, np.float32))
            assert state.read("item", at(0), ["n"])["n"].tolist() == [2.0**24 + 3]

    def test_nothing_is_kept_for_unknown_rows(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.write("user", at(-1, 0), {"a": np.array([5.0, 6.0])})
            state.add("user", "n", at(-1), np.ones(1, np.float32))
            state.push("user", "recent", at(-1, 1), _pushed([1, 2]), 5)
            np.testing.assert_equal(state.read("user", at(-1, 0), ["a"])["a"].tolist(), [np.nan, 6.0])
            assert np.isnan(state.read("user", at(-1), ["n"])["n"]).all()
            assert _lists_of(state.lists("user", "recent", at(-1, 0, 1)), "time") == [[], [], [2]]

    def test_a_list_before_its_first_push_is_an_empty_history(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            lists = state.lists("user", "recent", at(0, 7))
            assert lists.length.tolist() == [0, 0]
            assert {name: column.dtype for name, column in lists.columns.items()} == {
                name: np.dtype(dtype) for name, dtype in HISTORY.items()
            }

    def test_lists_keep_the_newest_whatever_the_order_of_arrival(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            _check_order_does_not_matter(state)

    def test_equal_times_stay_in_the_order_they_came(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.push("user", "recent", at(0, 0, 0), _pushed([5, 5, 4], [1, 2, 3]), 4)
            state.push("user", "recent", at(0), _pushed([5], [4]), 4)
            assert _lists_of(state.lists("user", "recent", at(0)), "item") == [[3, 1, 2, 4]]
            state.push("user", "recent", at(0, 0), _pushed([5, 4], [5, 6]), 4)
            assert _lists_of(state.lists("user", "recent", at(0)), "item") == [[1, 2, 4, 5]]

    def test_one_by_one_is_the_same_as_at_once(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(2)
        rows, time = rng.integers(0, 9, 300).astype(np.int32), rng.integers(0, 60, 300).tolist()
        columns = _pushed(time, range(300))
        with self.open(tmp_path) as state:
            state.push("user", "once", rows, columns, 7)
            for n in range(300):
                state.push(
                    "user", "single", rows[n : n + 1], {name: each[n : n + 1] for name, each in columns.items()}, 7
                )
            every = np.arange(-1, 10, dtype=np.int32)
            once, single = state.lists("user", "once", every), state.lists("user", "single", every)
            assert _lists_of(once, "item") == _lists_of(single, "item")
            for n, row in enumerate(every.tolist()):
                alone = state.lists("user", "once", at(row))
                assert _lists_of(alone, "item") == [_lists_of(once, "item")[n]]

    def test_what_was_read_does_not_change_later(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.push("user", "recent", at(0, 0), _pushed([1, 2]), 2)
            state.write("user", at(0), {"a": np.array([1.0])})
            lists, read = state.lists("user", "recent", at(0)), state.read("user", at(0), ["a"])
            state.push("user", "recent", at(0, 0), _pushed([3, 4]), 2)
            state.write("user", at(0), {"a": np.array([2.0])})
            assert _lists_of(lists, "time") == [[1, 2]]
            assert read["a"].tolist() == [1.0]

    def test_erased_rows_read_as_if_never_written(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            for table in ("user", "item"):
                state.write(table, at(0, 1), {"a": np.array([1.0, 2.0]), "b": np.array([[1.0, 2.0], [3.0, 4.0]])})
                state.push(table, "recent", at(0, 1, 0), _pushed([1, 2, 3]), 5)
            assert [list(each) for each in state.names("user")] == [["a", "b"], ["recent"]]
            before = state.lists("user", "recent", at(0))
            assert state.erase("user", at(0, 0, -1, 1000)) == 5
            assert state.erase("user", at(0)) == 0
            read = state.read("user", at(0, 1), ["a", "b"])
            np.testing.assert_equal(read["a"].tolist(), [np.nan, 2.0])
            np.testing.assert_equal(read["b"].tolist(), [[np.nan, np.nan], [3.0, 4.0]])
            assert _lists_of(state.lists("user", "recent", at(0, 1)), "time") == [[], [2]]
            assert _lists_of(state.lists("item", "recent", at(0, 1)), "time") == [[1, 3], [2]]
            assert _lists_of(before, "time") == [[1, 3]]
            state.push("user", "recent", at(0), _pushed([9]), 5)
            assert _lists_of(state.lists("user", "recent", at(0, 1)), "time") == [[9], [2]]

    def test_lists_lose_what_is_too_old_for_its_kind(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            columns = {**_pushed([1, 2, 3, 4, 5]), "kind": np.array([0, 7, 7, 0, 7], np.uint8)}
            state.push("user", "recent", at(0, 0, 1, 1, 1), columns, 5)
            assert state.retain("user", "never", {7: 3}) == 0
            assert state.retain("user", "recent", {7: 3}) == 1
            assert _lists_of(state.lists("user", "recent", at(0, 1)), "time") == [[1], [3, 4, 5]]
            assert state.retain("user", "recent", {0: 9, 7: 9}) == 4
            state.push("user", "recent", at(1), {name: each[:1] for name, each in columns.items()}, 5)
            assert _lists_of(state.lists("user", "recent", at(0, 1)), "time") == [[], [1]]

    def test_columns_that_do_not_fit_are_a_mistake(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as state:
            state.push("user", "recent", at(0), _pushed([1]), 2)
            with pytest.raises(ShapeError, match="columns are"):
                state.push("user", "recent", at(0), {"time": np.array([1])}, 2)
            with pytest.raises(ShapeError, match="time"):
                state.push("user", "other", at(0), {"item": np.array([1])}, 2)
            with pytest.raises(ShapeError, match="shape"):
                state.push("user", "recent", at(0, 1), _pushed([1]), 2)
            with pytest.raises(ShapeError, match="2 values for 1 rows"):
                state.write("user", at(0), {"a": np.array([1.0, 2.0])})
            with pytest.raises(ConfigError, match="keep is 0"):
                state.push("user", "recent", at(0), _pushed([1]), 0)


def _check_order_does_not_matter(state: State) -> None:
    number = 0

    @quick
    @given(
        st.dictionaries(st.integers(0, 60), st.integers(0, 3), max_size=30).flatmap(
            lambda pairs: st.tuples(st.permutations(sorted(pairs.items())), st.sets(st.integers(0, len(pairs))))
        ),
        st.integers(1, 12),
    )
    def check(drawn: tuple[list[tuple[int, int]], set[int]], keep: int) -> None:
        nonlocal number
        number += 1
        pushed, cuts = drawn
        for a, b in pairwise([0, *sorted(cuts), len(pushed)]):
            rows = np.array([row for _, row in pushed[a:b]], np.int32)
            state.push("user", f"recent-{number}", rows, _pushed([time for time, _ in pushed[a:b]]), keep)
        lists = state.lists("user", f"recent-{number}", at(0, 1, 2, 3))
        assert _lists_of(lists, "time") == [
            sorted(time for time, owner in pushed if owner == row)[-keep:] for row in range(4)
        ]

    check()
