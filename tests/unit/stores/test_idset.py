from itertools import zip_longest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.stores import idset
from shortlist.stores.idset import IdSet

words = st.integers(0, 5) | st.just(2**64 - 1)
batches = st.lists(st.lists(st.tuples(words, words), max_size=40), max_size=12)


def check_against_a_set(drawn: list[list[tuple[int, int]]]) -> None:
    ids, known = IdSet(), set[tuple[int, int]]()
    for batch in drawn:
        array = np.array(batch, np.uint64).reshape(-1, 2)
        expected = [pair not in known and pair not in batch[:n] for n, pair in enumerate(batch)]
        fresh = ids.fresh(array)
        assert fresh.tolist() == expected
        ids.add(array[fresh])
        known.update(batch)
        assert len(ids) == len(known)


@pytest.mark.parametrize("recent", [0, 3, 4096])
def test_it_is_a_set(recent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idset, "RECENT", recent)
    settings(max_examples=60, deadline=None)(given(batches)(check_against_a_set))()


@pytest.mark.parametrize("recent", [0, 3, 4096])
def test_what_is_discarded_is_fresh_again(recent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idset, "RECENT", recent)

    @settings(max_examples=60, deadline=None)
    @given(batches, batches)
    def check(added: list[list[tuple[int, int]]], gone: list[list[tuple[int, int]]]) -> None:
        ids, known = IdSet(), set[tuple[int, int]]()
        for more, less in zip_longest(added, gone, fillvalue=[]):
            array = np.array(more, np.uint64).reshape(-1, 2)
            ids.add(array[ids.fresh(array)])
            ids.discard(np.array(less, np.uint64).reshape(-1, 2))
            known = (known | set(more)) - set(less)
            assert len(ids) == len(known)
        every = [pair for batch in (*added, *gone) for pair in batch]
        fresh = ids.fresh(np.array(every, np.uint64).reshape(-1, 2))
        assert fresh.tolist() == [pair not in known and pair not in every[:n] for n, pair in enumerate(every)]

    check()


def test_ids_whose_keys_collide_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idset, "RECENT", 2)
    monkeypatch.setattr(idset, "mix", lambda value: value)  # key = first ^ rest
    check_against_a_set([[(7 ^ n, n) for n in range(5)], [(7 ^ n, n) for n in (9, 3, 8, 3, 9)], [(7, 0), (6, 0)]])


def test_runs_stay_few() -> None:
    ids = IdSet()
    for start in range(0, 400_000, 5_000):
        ids.add(np.stack((np.arange(start, start + 5_000), np.zeros(5_000)), axis=1).astype(np.uint64))
    assert len(ids) == 400_000
    assert len(ids._runs) <= 8
