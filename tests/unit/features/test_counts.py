"""Counters: the naive count, nothing of the future, and the same whether events were there or came one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import ops
from shortlist.dataset import DAY, DEFAULT_KINDS, Dataset
from shortlist.errors import ConfigError
from shortlist.features import happened
from shortlist.features.counts import Counts
from shortlist.types import HISTORY, Candidates, Events, Queries, Ragged

ITEMS, HOUR = 4, DAY // 24
CODES = {name: kind.code for name, kind in DEFAULT_KINDS.items()}
happenings = st.lists(
    st.tuples(st.integers(0, ITEMS - 1), st.integers(0, 12), st.sampled_from(["view", "click", "rate", "hide"])),
    max_size=40,
)


def log(rows: list[tuple[int, int, str]]) -> Events:
    """Events of (item, hour, kind)."""
    item, hour, kind = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    columns = (
        np.zeros(len(rows), np.int32),
        np.array(item, np.int32),
        np.array([CODES[name] for name in kind], np.uint8),
        np.ones(len(rows), np.float32),
        np.array(hour, np.int64) * HOUR,
    )
    return Events(*columns, np.zeros(len(rows), np.uint64), ops.event_ids(*columns))


def data(rows: list[tuple[int, int, str]]) -> Dataset:
    return Dataset.of(log(rows), 1, ITEMS)


def question(hour: int) -> tuple[Queries, Candidates]:
    """All items, asked at `hour` by somebody who liked items 0 and 1."""
    items = np.arange(ITEMS, dtype=np.int32)
    lists = [{"item": [0, 1], "kind": [2, 2], "value": [1, 1], "weight": [1, 1], "time": [0, 0]}]
    queries = Queries.of([0], history=Ragged.of(lists, HISTORY), time=hour * HOUR)
    return queries, Candidates(np.zeros(ITEMS, np.int32), items)


@given(happenings, st.integers(0, 13))
def test_it_is_the_naive_count_of_what_happened_before(rows: list[tuple[int, int, str]], hour: int) -> None:
    made = Counts(("3h",)).fit(data(rows), seed=0).columns(*question(hour))
    for item in range(ITEMS):
        mine = sorted(at for which, at, kind in rows if which == item and kind in ("click", "rate") and at < hour)
        assert made["count.all"][item] == pytest.approx(np.log1p(len(mine)))
        assert made["count.3h"][item] == pytest.approx(np.log1p(sum(at >= hour - 3 for at in mine)))
        if mine:
            assert made["count.since"][item] == pytest.approx(np.log1p(hour - mine[-1]), abs=1e-6)
            assert made["count.age"][item] == pytest.approx((hour - mine[0]) / 24, abs=1e-6)
        else:
            assert np.isnan([made["count.since"][item], made["count.age"][item]]).all()
    usual = (made["count.all"][0] + made["count.all"][1]) / 2
    assert made["count.usual"] == pytest.approx(usual)
    assert made["count.beside"] == pytest.approx(made["count.all"] - usual, abs=1e-6)


@given(happenings, happenings, st.integers(0, 13))
def test_nothing_that_happens_later_changes_a_column(
    before: list[tuple[int, int, str]], after: list[tuple[int, int, str]], hour: int
) -> None:
    past = [row for row in before if row[1] < hour]
    future = [row for row in after if row[1] >= hour]
    known = Counts().fit(data(past), seed=0).columns(*question(hour))
    whole = Counts().fit(data(past + future), seed=0).columns(*question(hour))
    for name, column in known.items():
        np.testing.assert_array_equal(column, whole[name], err_msg=name)


@given(happenings, happenings, happenings, st.integers(0, 13))
def test_what_comes_while_serving_counts_like_what_was_there(
    base: list[tuple[int, int, str]], first: list[tuple[int, int, str]], rest: list[tuple[int, int, str]], hour: int
) -> None:
    grown = Counts().fit(data(base), seed=0)
    for rows in (first, rest):
        grown.update(log(rows))
    whole = Counts().fit(data(base + first + rest), seed=0)
    for name, column in whole.columns(*question(hour)).items():
        np.testing.assert_array_equal(grown.columns(*question(hour))[name], column, err_msg=name)


def test_a_long_tail_is_laid_in_order_with_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happened, "RATIO", 3)
    rows = [(n % ITEMS, n % 12, "rate") for n in range(60)]
    grown = Counts().fit(data(rows[:3]), seed=0)
    for row in rows[3:]:
        grown.update(log([row]))
    whole = Counts().fit(data(rows), seed=0).columns(*question(20))
    for name, column in grown.columns(*question(20)).items():
        np.testing.assert_array_equal(column, whole[name], err_msg=name)


def test_kinds_may_be_named() -> None:
    rows = [(0, 1, "view"), (0, 2, "view"), (0, 3, "rate")]
    made = Counts(kinds=("view",)).fit(data(rows), seed=0).columns(*question(5))
    assert made["count.all"][0] == pytest.approx(np.log1p(2))
    with pytest.raises(ConfigError, match="no kind of event 'gaze'"):
        Counts(kinds=("gaze",)).fit(data(rows), seed=0)


def test_a_rating_that_is_no_liking_does_not_count() -> None:
    kinds = {**DEFAULT_KINDS, "rate": replace(DEFAULT_KINDS["rate"], least=2.0)}
    events = log([(0, 1, "rate"), (1, 1, "rate")])
    events = replace(events, value=np.array([1, 3], np.float32))
    whole = Dataset.of(events, 1, ITEMS)
    made = Counts().fit(replace(whole, kinds=type(whole.kinds)(kinds)), seed=0).columns(*question(5))
    assert made["count.all"][:2].tolist() == pytest.approx([0, np.log1p(1)])


@pytest.mark.parametrize("wrong", [{"windows": ("soon",)}, {"usual": 0}])
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Counts(**wrong)  # type: ignore[arg-type]
