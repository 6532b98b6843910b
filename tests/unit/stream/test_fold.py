"""The fold of events into state: newest kept, features told, no event lost or counted twice by a restart."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.stores.embedded import Embedded
from shortlist.stream.fold import Resumable, Setbacks, catch_up, fold
from shortlist.types import Candidates, Columns, Events, Queries


@dataclass
class Seen:
    """A feature that remembers how many events it was told."""

    told: list[int] = field(default_factory=list)

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        return {}

    def update(self, events: Events) -> None:
        self.told.append(len(events))


def events(user: list[int], item: list[int], time: list[int]) -> Events:
    facts = (
        np.array(user, np.int32),
        np.array(item, np.int32),
        np.ones(len(user), np.uint8),
        np.ones(len(user), np.float32),
        np.array(time, np.int64),
    )
    return Events(*facts, np.zeros(len(user), np.uint64), ops.event_ids(*facts))


def test_the_newest_are_kept_by_time_and_features_are_told() -> None:
    with Embedded.memory() as stores:
        feature = Seen()
        fold(events([0, 0, 1, 0], [5, 6, 7, 8], [30, 10, 1, 20]), stores.state, [feature], 2)
        lists = stores.state.lists("user", "recent", np.array([0, 1, 2], np.int32))
        assert lists["item"].tolist() == [8, 5, 7]
        assert lists.length.tolist() == [2, 1, 0]
        assert set(lists.columns) == {"item", "kind", "value", "time"}
        assert feature.told == [4]


def test_a_feature_that_fails_once_does_not_double_a_history() -> None:
    class FailsOnce(Seen):
        def update(self, events: Events) -> None:
            super().update(events)
            if len(self.told) == 1:
                raise OSError("weather")

    with Embedded.memory() as stores:
        stores.log.append(events([0, 0], [5, 6], [1, 2]))
        feature = FailsOnce()
        with pytest.raises(OSError, match="weather"):
            catch_up(stores.log, stores.state, [feature], 9)
        assert catch_up(stores.log, stores.state, [feature], 9) == 2
        assert stores.state.lists("user", "recent", np.array([0], np.int32))["item"].tolist() == [5, 6]


@pytest.mark.parametrize("error", [ValueError("bug"), OSError("weather")], ids=["a bug", "weather"])
def test_a_feature_that_always_fails_keeps_nobody_waiting(error: Exception) -> None:
    class Broken(Seen):
        def update(self, events: Events) -> None:
            raise error

    with Embedded.memory() as stores:
        stores.log.append(events([0, 0], [5, 6], [1, 2]))
        before, broken, after, setbacks = Seen(), Broken(), Seen(), Setbacks()
        folded = 0
        while not folded:
            with suppress(OSError):
                folded = catch_up(stores.log, stores.state, [before, broken, after], 9, setbacks)
        stores.log.append(events([0], [7], [3]))
        folded = 0
        while not folded:
            with suppress(OSError):
                folded = catch_up(stores.log, stores.state, [before, broken, after], 9, setbacks)
        assert stores.state.lists("user", "recent", np.array([0], np.int32))["item"].tolist() == [5, 6, 7]
        assert before.told == after.told == [2, 1]
        assert setbacks.skipped == {"Broken": 3}
        assert repr(error) in setbacks.error


def test_what_came_after_a_failure_is_another_batch(tmp_path: Path) -> None:
    """A feature that had its batch before another one failed is told only what came since."""

    class FailsOnce(Seen):
        def update(self, events: Events) -> None:
            super().update(events)
            if len(self.told) == 1:
                raise OSError("weather")

    with Embedded.open(tmp_path) as stores:
        stores.log.append(events([0, 0], [5, 6], [1, 2]))
        calm, failing, setbacks = Seen(), FailsOnce(), Setbacks()
        with pytest.raises(OSError, match="weather"):
            catch_up(stores.log, stores.state, [calm, failing], 9, setbacks)
        stores.log.append(events([0], [7], [3]))
        assert catch_up(stores.log, stores.state, [calm, failing], 9, setbacks) == 3
        assert calm.told == [2, 1]
        assert failing.told == [2, 2, 1]


def test_events_without_a_user_or_an_item_are_in_no_history() -> None:
    with Embedded.memory() as stores:
        fold(events([-1, 0, 0], [1, -1, 2], [1, 2, 3]), stores.state, [], 10)
        assert stores.state.lists("user", "recent", np.array([0], np.int32))["item"].tolist() == [2]


def test_the_embedded_state_is_resumable() -> None:
    with Embedded.memory() as stores:
        assert isinstance(stores.state, Resumable)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 50)), min_size=1, max_size=30, unique=True),
    st.lists(st.integers(1, 7), max_size=6),
)
def test_however_the_log_is_cut_the_state_is_that_of_one_fold(
    happened: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    whole = events(*map(list, zip(*happened, strict=True)))
    everyone = np.arange(4, dtype=np.int32)
    with Embedded.memory() as once, Embedded.memory() as often:
        fold(whole, once.state, [], 5)
        feature, start = Seen(), 0
        for cut in [*cuts, len(whole)]:
            often.log.append(whole.take(np.arange(start, max(start, min(start + cut, len(whole))))))
            start = max(start, min(start + cut, len(whole)))
            catch_up(often.log, often.state, [feature], 5)
            assert catch_up(often.log, often.state, [feature], 5) == 0
        expected, folded = (each.state.lists("user", "recent", everyone) for each in (once, often))
        assert folded.ptr.tolist() == expected.ptr.tolist()
        assert {name: column.tolist() for name, column in folded.columns.items()} == {
            name: column.tolist() for name, column in expected.columns.items()
        }
        assert sum(feature.told) == len(whole)
