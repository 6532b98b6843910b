"""Sets of event ids, and rows by id, against Python's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shortlist._kernels import IdRows, IdSet, order

words = st.integers(0, 5) | st.sampled_from([2**64 - 1, 2**63])
ids = st.lists(st.tuples(words, words), max_size=40)


def array(batch: list[tuple[int, int]]) -> NDArray[np.uint64]:
    return np.array(batch, np.uint64).reshape(-1, 2)


@given(st.lists(st.tuples(ids, ids), max_size=12))
def test_it_is_a_set(steps: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> None:
    own, known = IdSet(), set[tuple[int, int]]()
    for added, gone in steps:
        expected = [pair not in known and pair not in added[:n] for n, pair in enumerate(added)]
        fresh = own.fresh(array(added))
        assert fresh.tolist() == expected
        own.add(array(added)[fresh])
        known.update(added)
        assert len(own) == len(known)
        own.discard(array(gone))
        known.difference_update(gone)
        assert len(own) == len(known)


def test_a_set_that_grows_and_shrinks_keeps_what_it_should() -> None:
    every = np.random.default_rng(0).integers(0, 2**63, (200_000, 2)).astype(np.uint64)
    every[::7, 0] = 3  # half of the id is the same
    own = IdSet()
    for start in range(0, len(every), 5_000):
        own.add(every[start : start + 5_000])
    own.discard(every[::3])
    assert len(own) == len(every) - len(every[::3])
    assert own.fresh(every).tolist() == [n % 3 == 0 for n in range(len(every))]


@given(ids, ids)
def test_the_first_row_of_an_id_stays(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    own, rows = IdRows(), dict[tuple[int, int], int]()
    for start, batch in ((0, first), (100, second)):
        own.add(array(batch), np.arange(start, start + len(batch), dtype=np.int32))
        for n, pair in enumerate(batch, start):
            rows.setdefault(pair, n)
    assert len(own) == len(rows)
    asked = [*first, *second, (77, 77), (0, 0)]
    assert own.find(array(asked)).tolist() == [rows.get(pair, -1) for pair in asked]


@pytest.mark.parametrize("size", [0, 1, 2, 511, 512, 513, 70_000, 2**20 + 3])
@pytest.mark.parametrize("span", [1, 3, 2**11, 2**12, 2**40, 2**63 - 1])
def test_order_is_stable(size: int, span: int) -> None:
    key = np.random.default_rng(size).integers(-span, span, size)
    assert np.array_equal(order(key), np.argsort(key, kind="stable"))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two words"):
        IdSet().add(np.zeros((3, 3), np.uint64))
    with pytest.raises(ValueError, match="needs a row"):
        IdRows().add(np.zeros((3, 2), np.uint64), np.zeros(2, np.int32))
