"""What is said of columns: coverage, unknown values, spread, drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.eval import columns

numbers = st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=60)


def test_a_column_is_described_by_what_it_holds() -> None:
    before = {"price": np.zeros(4, np.float32)}
    now = {
        "price": np.array([1, 2, 3, np.nan], np.float32),
        "kind": np.array([0, 1, 2, 3], np.int32),
        "tags": np.array([[0, 0], [0, 1], [2, 2], [0, 3]], np.int32),
        "empty": np.full(4, np.nan, np.float32),
    }
    empty, kind, price, tags = columns.describe(before, now)
    assert [each.name for each in (empty, kind, price, tags)] == ["empty", "kind", "price", "tags"]
    assert (price.kind, price.covered, price.unknown, price.middle) == ("number", 0.75, None, 2.0)
    assert (empty.covered, empty.low, empty.high) == (0.0, None, None)
    assert (kind.kind, kind.covered, kind.unknown) == ("category", 0.75, pytest.approx(1 / 3))
    assert (tags.kind, tags.covered, tags.unknown) == ("list", 0.75, pytest.approx(1 / 4))


def test_a_vector_is_described_by_rows_and_drifts_by_the_place_that_moved_most() -> None:
    chance = np.random.default_rng(0)
    before = chance.normal(size=(4000, 3)).astype(np.float32)
    now = np.roll(before, 1, axis=0)
    now[:1000] = np.nan
    (vector,) = columns.describe({"v": now}, {"v": now})
    assert (vector.kind, vector.covered, vector.null, vector.drift) == ("number", 0.75, 0.25, 0.0)
    moved = before.copy()
    moved[:, 1] += 1
    assert columns.drift(before, moved) == columns.drift(before[:, 1], moved[:, 1]) > columns.MOVED


@given(numbers)
def test_a_column_has_not_moved_from_itself(values: list[float]) -> None:
    column = np.array(values, np.float32)
    assert columns.drift(column, column) == pytest.approx(0, abs=1e-9)
    assert columns.drift(column, column[::-1]) == pytest.approx(0, abs=1e-9)


@given(numbers, numbers)
def test_drift_is_a_number_and_never_negative(before: list[float], now: list[float]) -> None:
    moved = columns.drift(np.array(before, np.float32), np.array(now, np.float32))
    assert np.isfinite(moved)
    assert moved >= -1e-12


def test_what_has_moved_is_marked() -> None:
    chance = np.random.default_rng(0)
    before, same, other = chance.normal(size=4000), chance.normal(size=4000), chance.normal(1, size=4000)
    assert columns.drift(before, same) < 0.02
    assert columns.drift(before, other) > columns.MOVED
    gone = np.where(chance.random(4000) < 0.5, np.nan, before)
    assert columns.drift(before, gone) > columns.MOVED
    codes = chance.integers(2, 6, 4000).astype(np.int32)
    assert columns.drift(codes, codes[::-1]) < 0.02
    assert columns.drift(codes, codes + 2) > columns.MOVED
    header, *lines = columns.table(columns.describe({"x": before}, {"x": other}))
    assert header[-1] == "drift"
    assert lines[0][-1].endswith("moved")


def test_psi_is_that_of_the_definition() -> None:
    before, now = np.repeat([2, 3], [50, 50]), np.repeat([2, 3], [80, 20])
    expected = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert columns.drift(before, now) == pytest.approx(expected, abs=1e-3)


def test_nothing_has_not_moved() -> None:
    assert columns.drift(np.empty(0), np.ones(3)) == 0
    assert columns.drift(np.ones(3), np.empty(0)) == 0
