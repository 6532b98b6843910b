"""The rows of the benchmark of probabilities: nobody's future is read, lists and codes are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks import ctr


def test_the_past_is_what_was_liked_strictly_before() -> None:
    chance = np.random.default_rng(0)
    time = np.sort(chance.integers(0, 150, 400))  # many at the same moment
    user, code, liked = chance.integers(0, 6, 400), chance.integers(2, 50, 400), chance.random(400) < 0.6
    found = ctr._past(user, code.astype(np.int32), time, liked)
    for row in range(400):
        before = code[(user == user[row]) & (time < time[row]) & liked]
        expected = np.zeros(ctr.PAST, np.int32)
        kept = before[-ctr.PAST :]
        expected[ctr.PAST - len(kept) :] = kept
        np.testing.assert_array_equal(found[row], expected)


def test_parts_are_in_order_and_eight_to_one_to_one() -> None:
    part = ctr._parts(1000)
    assert (np.diff(part) >= 0).all()
    assert np.bincount(part).tolist() == [800, 100, 100]


def test_codes_begin_at_two_and_zero_is_no_value() -> None:
    assert ctr._coded(np.array(["b", "", "a", "b"], object)).tolist() == [4, 0, 3, 4]
    assert ctr._coded(np.array([1.0, np.nan, 7.0])).tolist() == [2, 0, 3]
    lists = np.empty(3, object)
    lists[:] = [("x", "y"), (), ("y",)]
    assert ctr._lists(lists).tolist() == [[2, 3], [0, 0], [0, 3]]


def test_a_table_is_written_as_its_readers_want_it(tmp_path: Path) -> None:
    columns = {"item": np.arange(2, 12, dtype=np.int32), "past": np.full((10, 3), 30, np.int32)}
    label = (np.arange(10) % 2).astype(np.float32)
    ctr.Table(columns, label, np.zeros(10, np.int32), ctr._parts(10), "past", "item").write(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts == {"sizes": {"item": 31, "past": 31}, "past": "past", "item": "item"}
    with np.load(tmp_path / "test.npz") as file:
        assert file["item"].tolist() == [11]
        assert file["label"].tolist() == [1]
