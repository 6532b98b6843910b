"""The kernels between the models, each against a naive reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import _kernels, ops
from shortlist.types import Candidates, Queries, Ragged

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(0, 5), st.integers(1, 200))
def test_merge_is_a_dictionary_for_each_query(seed: int, queries: int, parts: int, items: int) -> None:
    chance = np.random.default_rng(seed)
    given_ = {}
    for part in range(parts):
        lists = [chance.permutation(items)[: chance.integers(0, items + 1)] for _ in range(queries)]
        item = np.concatenate(lists).astype(np.int32)
        query = np.repeat(np.arange(queries), [len(each) for each in lists]).astype(np.int32)
        given_[f"part{part}"] = Candidates(query, item, {"score": chance.random(len(item)).astype(np.float32)})
    merged = ops.merge(given_, queries)
    keys = sorted(
        {pair for part in given_.values() for pair in zip(part.query.tolist(), part.item.tolist(), strict=True)}
    )
    assert list(zip(merged.query.tolist(), merged.item.tolist(), strict=True)) == keys
    for name, part in given_.items():
        score = dict(zip(zip(part.query.tolist(), part.item.tolist(), strict=True), part.columns["score"], strict=True))
        np.testing.assert_array_equal(merged.columns[name], np.float32([score.get(key, np.nan) for key in keys]))


def test_merge_refuses_a_part_that_is_not_sorted_by_query() -> None:
    part = Candidates(np.int32([1, 0]), np.int32([3, 4]), {"score": np.float32([1, 2])})
    with pytest.raises(ValueError, match="must not fall"):
        ops.merge({"a": part}, 2)


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(1, 4), st.integers(0, 30), st.integers(0, 12))
def test_first_permitted_walks_the_list(seed: int, queries: int, size: int, k: int) -> None:
    chance = np.random.default_rng(seed)
    item = chance.permutation(40)[:size].astype(np.int32)
    start = chance.integers(0, size + 1, queries)
    lists = [chance.integers(-1, 45, chance.integers(0, 9)) for _ in range(queries)]
    ptr = np.concatenate(([0], np.cumsum([len(each) for each in lists]))).astype(np.int64)
    allowed = chance.random(int(chance.integers(0, 40))) < 0.7
    exclude = np.concatenate(lists).astype(np.int32)
    query, place = _kernels.first_permitted(item, start, k, ptr, exclude, allowed)
    for b in range(queries):
        expected = [
            at
            for at in range(start[b], size)
            if item[at] not in lists[b] and (item[at] >= len(allowed) or allowed[item[at]])
        ]
        assert place[query == b].tolist() == expected[:k]


@settings(max_examples=50, deadline=None)
@given(seeds, st.integers(0, 60))
def test_weigh_caps_each_kind_and_lets_a_dislike_win(seed: int, size: int) -> None:
    chance = np.random.default_rng(seed)
    owner, item, kind = (chance.integers(0, high, size) for high in (3, 4, 5))
    value = chance.integers(0, 5, size).astype(np.float32)
    weight, least, cap = np.zeros(256, np.float32), np.full(256, -np.inf, np.float32), np.zeros(256, np.int64)
    weight[:5], least[1], cap[:5] = [1, 2, 0, -1, 3], 3, [0, 1, 2, 1, 2]
    said = _kernels.weigh(
        owner.astype(np.int32), item.astype(np.int32), kind.astype(np.uint8), value, weight, least, cap
    )
    seen: Counter[tuple[int, int, int]] = Counter()
    expected = []
    for o, i, k, v in zip(owner, item, kind, value, strict=True):
        says = weight[k] if v >= least[k] else 0
        if says and cap[k]:
            seen[o, i, k] += 1
            says = says if seen[o, i, k] <= cap[k] else 0
        expected.append(says)
    disliked = {(o, i) for o, i, says in zip(owner, item, expected, strict=True) if says < 0}
    expected = [
        0 if says > 0 and (o, i) in disliked else says for o, i, says in zip(owner, item, expected, strict=True)
    ]
    assert said.tolist() == expected


def test_what_is_worked_out_once_belongs_to_one_owner_and_one_question() -> None:
    queries, calls = Queries.of([1, 2]), []
    owner, other = Ragged(np.int64([0]), {}), Ragged(np.int64([0]), {})
    for each in (owner, owner, other):
        assert queries.once(each, "it", lambda: calls.append(1) or len(calls)) in (1, 2)
    assert len(calls) == 2
    assert queries.take(np.array([0])).once(owner, "it", lambda: 7) == 7
    assert queries.with_allowed(np.ones(3, np.bool_)).once(owner, "it", lambda: 7) == 1


def test_another_history_is_another_question() -> None:
    queries, owner = Queries.of([1]), Ragged(np.int64([0]), {})
    assert queries.once(owner, "it", lambda: 1) == 1
    assert replace(queries, history=queries.history).once(owner, "it", lambda: 2) == 2
