"""Dense layers against numpy, and the same bits for a row whatever is asked beside it, in every instruction set."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import _kernels

NOBODY = np.empty(0, np.int32)


@pytest.fixture(params=_kernels.variants(), autouse=True, scope="module")
def variant(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _kernels.use(request.param)
    yield
    _kernels.use(before)


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape).astype(np.float32)


@given(st.integers(0, 30), st.integers(0, 40), st.integers(1, 150), st.booleans())
def test_a_layer_is_a_product_a_sum_and_a_bend(rows: int, width: int, columns: int, relu: bool) -> None:
    x, weight, start = drawn(rows, width), drawn(width, columns), drawn(3, columns)
    owner = (np.arange(rows) % 3).astype(np.int32)
    expected = start[owner] + x @ weight
    made = _kernels.dense(x, weight, start, owner, relu)
    np.testing.assert_allclose(made, np.maximum(expected, 0) if relu else expected, atol=1e-4)
    times, plus = drawn(rows, columns, seed=1), drawn(rows, columns, seed=2)
    crossed = _kernels.cross(x, weight, start, owner, times, plus)
    np.testing.assert_allclose(crossed, plus + times * expected, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_has_the_same_bits_alone_and_when_its_first_inputs_were_summed_before(threads: int) -> None:
    x, weight, start = drawn(9000, 21), drawn(21, 37), drawn(1, 37)
    whole = _kernels.dense(x, weight, start, NOBODY, True, threads)
    for row in (0, 1, 13, 8999):
        assert _kernels.dense(x[row : row + 1], weight, start, NOBODY, True).tobytes() == whole[row].tobytes()
    first = _kernels.dense(np.ascontiguousarray(x[:, :8]), weight[:8], start, NOBODY, False, threads)
    rest = np.ascontiguousarray(x[:, 8:])
    again = _kernels.dense(rest, weight[8:], first, np.arange(9000, dtype=np.int32), True, threads)
    assert again.tobytes() == whole.tobytes()


def test_shapes_are_checked() -> None:
    x, weight, start = drawn(4, 3), drawn(3, 5), drawn(2, 5)
    with pytest.raises(ValueError, match="x has 2 columns, the layer takes 3"):
        _kernels.dense(np.ascontiguousarray(x[:, :2]), weight, start[:1], NOBODY)
    with pytest.raises(ValueError, match="one start for all"):
        _kernels.dense(x, weight, start, NOBODY)
    with pytest.raises(ValueError, match="inside the rows of start"):
        _kernels.dense(x, weight, start, np.array([0, 1, 2, 0], np.int32))
    with pytest.raises(ValueError, match="the shape of the result"):
        _kernels.cross(x, weight, start[:1], NOBODY, drawn(4, 4), drawn(4, 5))
