"""Intervals: centre, width, pairing, seed, people without a value."""

import math

import numpy as np
import pytest

from shortlist.eval.bootstrap import Interval, intervals


def test_the_interval_of_a_mean_is_the_textbook_one():
    values = np.random.default_rng(1).normal(3, 2, 4000)
    found = intervals({"x": values}, resamples=2000)["x"]
    error = values.std() / math.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.n == 4000
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_columns_share_their_resamples_so_differences_pair():
    rng = np.random.default_rng(2)
    base = rng.random(500)
    found = intervals({"a": base, "b": base + 1, "gap": np.ones(500)})
    assert found["b"].low == pytest.approx(found["a"].low + 1)
    assert (found["gap"].low, found["gap"].high) == (pytest.approx(1), pytest.approx(1))


def test_same_seed_same_interval():
    values = {"x": np.random.default_rng(3).random(300)}
    whole = intervals(values, resamples=50, seed=9)
    assert intervals(values, resamples=50, seed=9) == whole
    assert intervals(values, resamples=50, seed=8) != whole


def test_people_without_a_value_are_left_out():
    values = np.array([1.0, np.nan, 3.0, np.nan])
    found = intervals({"x": values, "full": np.ones(4)}, resamples=200)
    assert (found["x"].value, found["x"].n) == (2.0, 2)
    assert 1 <= found["x"].low <= found["x"].high <= 3
    assert found["full"] == Interval(1.0, 1.0, 1.0, 4)


@pytest.mark.parametrize("values", [np.empty(0), np.full(3, np.nan)])
def test_nobody_has_a_value(values):
    found = intervals({"x": values})["x"]
    assert math.isnan(found.value)
    assert found.n == 0
    assert found.sign == 0


def test_sign_says_on_which_side_the_whole_interval_lies():
    assert Interval(1, 0.5, 2, 9).sign == 1
    assert Interval(-1, -2, -0.5, 9).sign == -1
    assert Interval(0.1, -0.5, 0.7, 9).sign == 0
