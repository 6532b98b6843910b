"""What every EventLog must keep."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import DataError
from shortlist.protocols import EventLog
from shortlist.stores import open_store
from shortlist.testing.store_contract import StoreContract, at, closed, in_threads, quick
from shortlist.types import Columns, Events, Mask


def _events(number: Sequence[int], *, at: Sequence[int] | None = None, columns: Columns | None = None) -> Events:
    """One event for each `number`, which is its id and colours every field."""
    n = np.array(number, np.int64)
    return Events(
        (n % 1000).astype(np.int32),
        (n % 77 - 1).astype(np.int32),
        (n % 256).astype(np.uint8),
        np.where(n % 5 == 0, np.nan, n / 3).astype(np.float32),
        n if at is None else np.array(at, np.int64),
        n.astype(np.uint64) ^ np.uint64(2**64 - 1),
        np.stack((n.astype(np.uint64), np.zeros(len(n), np.uint64)), axis=1),
        columns or {},
    )


def _scanned(log: EventLog, start: str = "", stop: str = "") -> list[int]:
    return [int(number) for _, events in log.scan(start, stop) for number in events.id[:, 0]]


def _paged(events: Events) -> list[tuple[int, str]]:
    page = events.columns.get("page", np.full(len(events), "", object))
    return list(zip(events.id[:, 0].tolist(), page.tolist(), strict=True))


class EventLogContract(StoreContract):
    """For every EventLog. `many` events in one call are a bulk load."""

    many: ClassVar[int] = 12_000

    def open(self, folder: Path) -> Any:
        return closed(open_store("log", self.url(folder)))

    def test_an_empty_log_has_an_end_and_nothing_before_it(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            assert list(log.scan()) == []
            assert list(log.scan(log.end())) == []
            assert len(log.append(Events.empty())) == 0

    def test_events_come_back_whole_and_in_order_of_arrival(self, tmp_path: Path) -> None:
        parts = [
            _events([5, 3], at=[-(2**60), 2**60]),
            _events(range(1000, 1000 + self.many)),
            _events([4]),
            _events([1, 2]),
        ]
        whole = Events.concat(parts)
        with self.open(tmp_path) as log:
            for part in parts:
                assert log.append(part).all()
            found = Events.concat([events for _, events in log.scan()])
            for name in ("user", "item", "kind", "value", "time", "request", "id"):
                mine, theirs = getattr(whole, name), getattr(found, name)
                assert theirs.dtype == mine.dtype, name
                np.testing.assert_array_equal(theirs, mine, name)

    def test_scanning_resumes_at_every_offset(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            ends = [log.end()]
            parts: list[list[int]] = [[1, 2, 3], list(range(10, 10 + self.many)), [4], [5, 6]]
            for part in parts:
                log.append(_events(part))
                ends.append(log.end())
            for n, start in enumerate(ends):
                assert _scanned(log, start) == [each for part in parts[n:] for each in part]
                assert _scanned(log, "", start) == [each for part in parts[:n] for each in part]
            offsets = ["", *(offset for offset, _ in log.scan())]
            assert [each for a, b in pairwise(offsets) for each in _scanned(log, a, b)] == _scanned(log)
            assert offsets[-1] == log.end()

    def test_an_offset_of_another_log_is_refused(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            log.append(_events([1]))
            for offset in ("nonsense", "999999999999"):
                with pytest.raises(DataError, match="offset"):
                    list(log.scan(offset))

    def test_a_known_id_adds_nothing(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            _check_one_effect(log)

    def test_a_bulk_load_again_adds_only_what_is_new(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            log.append(_events([3]))
            assert log.append(_events(range(self.many))).tolist() == [n != 3 for n in range(self.many)]
            assert log.append(_events(range(1, self.many + 2))).sum() == 2
            assert sorted(_scanned(log)) == list(range(self.many + 2))

    def test_ids_differ_in_either_half(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            events = _events(range(6))
            events.id[:] = [[0, 0], [0, 1], [1, 0], [1, 1], [2**64 - 1, 0], [0, 2**64 - 1]]
            assert log.append(events).all()
            assert not log.append(events).any()

    def test_ten_threads_with_the_same_events_have_one_effect(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:

            def send(_: int) -> list[Mask]:
                return [log.append(_events([number, number])) for number in range(20)]

            answers = np.array(in_threads(10, send))  # (threads, events, 2)
            assert answers.sum(axis=(0, 2)).tolist() == [1] * 20
            assert sorted(_scanned(log)) == list(range(20))

    def test_context_columns_are_kept(self, tmp_path: Path) -> None:
        shown: Columns = {
            "place": np.array([1, 2], np.int16),
            "vector": np.array([[1, 2], [3, 4]], np.float32),
            "page": np.array(["home", "é"], object),
            "bot": np.array([True, False]),
        }
        with self.open(tmp_path) as log:
            log.append(_events([1, 2], columns=shown))
            log.append(_events([3]))
            log.append(_events(range(10, 10 + self.many), columns={"place": np.arange(self.many, dtype=np.int16)}))
            assert len(_scanned(log)) == 3 + self.many
            place = np.concatenate([events.columns["place"] for _, events in log.scan()])
            assert place[[0, 1, 3, 4, -1]].tolist() == [1, 2, 0, 1, self.many - 1]
            _, first = next(iter(log.scan("", log.end())))
            assert first.columns["page"][:2].tolist() == ["home", "é"]
            for name, column in shown.items():
                assert first.columns[name].dtype == column.dtype, name
                np.testing.assert_array_equal(first.columns[name][:2], column)
            with pytest.raises(DataError, match="'place' holds int16"):
                log.append(_events([4], columns={"place": np.array(["top"])}))
            assert log.append(_events([4])).all()

    def test_erased_people_have_no_events_and_get_none(self, tmp_path: Path) -> None:
        page = {"page": np.array([f"p{n}" for n in range(self.many)], object)}
        with self.open(tmp_path) as log:
            log.append(_events(range(self.many), columns=page))
            log.append(_events([self.many, self.many + 7]))
            whole, ends = _scanned(log), [offset for offset, _ in log.scan()]
            kept = [n for n in whole if n % 1000 not in (7, 8)]
            gone = [sum(n % 1000 == user for n in whole) for user in (7, 8)]
            assert log.erase(at(8, -1, 7, 999_999)).tolist() == [gone[1], 0, gone[0], 0]
            assert log.erase(at(7, 8)).tolist() == [0, 0]
            assert _scanned(log) == kept
            for offset in (*ends, *(end for end, _ in log.scan())):
                before, after = _scanned(log, "", offset), _scanned(log, offset)
                assert before + after == kept
            pages = {n: str(p) for _, batch in log.scan() for n, p in _paged(batch)}
            assert all(pages[n] == f"p{n}" for n in kept if n < self.many)
            late = _events([10_000_007, 10_000_009])
            assert log.append(late).tolist() == [False, True]
            assert _scanned(log) == [*kept, 10_000_009]

    def test_what_is_too_old_for_its_kind_goes(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as log:
            log.append(_events(range(self.many)))
            log.append(_events([self.many + 3]))
            kept = [n for n in _scanned(log) if not (n % 256 == 3 and n < 6000) and n % 256 != 4]
            assert log.retain({3: 6000, 4: self.many}) == self.many + 1 - len(kept)
            assert _scanned(log) == kept
            assert log.retain({3: 6000, 4: self.many}) == 0
            assert log.append(_events([3, 5])).tolist() == [True, False]  # forgotten: it is new again

    def test_what_was_erased_stays_so_after_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        with self.open(tmp_path) as log:
            log.append(_events(range(self.many)))
            end = log.end()
            log.erase(at(7))
        with self.open(tmp_path) as log:
            assert (log.end(), any(n % 1000 == 7 for n in _scanned(log))) == (end, False)
            assert log.append(_events([7, 9, self.many + 8])).tolist() == [False, False, True]
            log.erase(at(8))
            assert not any(n % 1000 in (7, 8) for n in _scanned(log))

    def test_what_was_acknowledged_is_there_after_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        sent: list[int] = []
        for start in (0, self.many * 2, self.many * 4):
            with self.open(tmp_path) as log:
                for part in ([start], range(start + 1, start + self.many), [start + self.many]):
                    assert log.append(_events(part)).all()
                    sent += part
            with self.open(tmp_path) as log:
                assert _scanned(log) == sent
                assert not log.append(_events(sent)).any()


def _check_one_effect(log: EventLog) -> None:
    expected: list[int] = []

    @quick
    @given(st.lists(st.integers(0, 200), max_size=12))
    def check(numbers: list[int]) -> None:
        new = [number not in expected and number not in numbers[:n] for n, number in enumerate(numbers)]
        assert log.append(_events(numbers)).tolist() == new
        expected.extend(number for number, fresh in zip(numbers, new, strict=True) if fresh)
        assert _scanned(log) == expected

    check()
