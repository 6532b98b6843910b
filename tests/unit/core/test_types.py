"""Columns that belong together are checked; batches can be cut and joined without losing a row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import Candidates, Events, Queries, Ragged, ShapeError

lists = st.lists(st.lists(st.integers(0, 99), max_size=6), max_size=6)


def ragged(rows):
    return Ragged.of([{"item": row} for row in rows], {"item": np.int32})


def as_lists(value):
    return [value["item"][value.ptr[b] : value.ptr[b + 1]].tolist() for b in range(len(value))]


@given(lists, st.data())
def test_ragged_take_returns_the_lists_asked_for(rows, data):
    positions = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = ragged(rows).take(np.asarray(positions, np.intp))
    assert as_lists(taken) == [rows[i] for i in positions]


@given(lists, st.integers(1, 4))
def test_ragged_last_keeps_the_newest(rows, count):
    assert as_lists(ragged(rows).last(count)) == [row[-count:] for row in rows]


@given(lists)
def test_ragged_where_keeps_order_and_empty_lists(rows):
    value = ragged(rows)
    kept = value.where(value["item"] % 2 == 0)
    assert as_lists(kept) == [[x for x in row if x % 2 == 0] for row in rows]


def test_with_exclude_joins_per_query():
    queries = Queries.of([0, 1], exclude=ragged([[1], [2, 3]])).with_exclude(ragged([[9], []]))
    assert [sorted(row) for row in as_lists(queries.exclude)] == [[1, 9], [2, 3]]


def test_with_allowed_takes_the_shorter_as_open_ended():
    queries = Queries.of([0], allowed=np.array([True, False])).with_allowed(np.array([True, True, False, True]))
    assert queries.allowed.tolist() == [True, False, False, True]


def test_queries_take_is_a_batch_of_the_chosen():
    queries = Queries.of([4, 5, 6], exclude=ragged([[1], [2], [3]]), seed=np.array([7, 8, 9], np.uint64), time=3)
    one = queries.take(np.array([2]))
    assert (one.user.tolist(), one.seed.tolist(), as_lists(one.exclude), len(one)) == ([6], [9], [[3]], 1)


def test_concat_sorts_by_query_and_fills_missing_columns():
    a = Candidates(np.int32([0, 1]), np.int32([5, 6]), {"score": np.float32([1, 2]), "flag": np.array([True, True])})
    b = Candidates(np.int32([0]), np.int32([7]), {"score": np.float32([3])})
    both = Candidates.concat([a, b])
    assert both.query.tolist() == [0, 0, 1]
    assert both.item.tolist() == [5, 7, 6]
    assert both.columns["flag"].tolist() == [True, False, True]


def test_events_concat_and_take_round_trip():
    part = Events(
        np.int32([1, 2]), np.int32([3, 4]), np.uint8([0, 1]), np.float32([1, 1]), np.int64([5, 6]),
        np.uint64([0, 0]), np.arange(4, dtype=np.uint64).reshape(2, 2), {"place": np.array([1, 2])},
    )  # fmt: skip
    both = Events.concat([part, part])
    assert both.user.tolist() == [1, 2, 1, 2]
    assert both.take(np.array([3])).columns["place"].tolist() == [2]
    assert len(Events.concat([])) == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Candidates(np.int32([0]), np.int32([1, 2])), "Candidates: column 'item' has 2 rows, expected 1"),
        (lambda: Ragged(np.int64([1, 2]), {}), "ptr must start with 0"),
        (lambda: Ragged(np.int64([0, 2]), {"item": np.int32([1])}), "column 'item' has 1 rows, expected 2"),
        (lambda: Queries.of([1, 2], exclude=ragged([[1]])), "column 'exclude' has 1 rows, expected 2"),
    ],
)
def test_columns_that_do_not_fit_are_refused(make, text):
    with pytest.raises(ShapeError, match=text):
        make()
