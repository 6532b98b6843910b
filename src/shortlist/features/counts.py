"""How often an item was liked before the moment asked: in windows, ever, and how long ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY, Dataset, duration
from shortlist.errors import ConfigError
from shortlist.features.happened import Growing, counted, which
from shortlist.features.wording import number, span, times, verb
from shortlist.types import Candidates, Column, Columns, Events, Mask, Queries, Reason, Rows, Scores

HOUR = DAY // 24
PLACE = 32  # bits of a key for the place of an event in the order of time


@dataclass(frozen=True, slots=True)
class Counts:
    """Columns that depend on what happened strictly before the time of the query, and on nothing after it.

    What is asked of the past is therefore what was true then: rankers learn from the numbers that serving would have
    shown. 16 bytes an event.
    """

    windows: tuple[str, ...] = ("1d", "7d", "30d")  # before the moment asked
    kinds: tuple[str, ...] = ()  # of events that count; empty = those that are likings
    usual: int = 20  # newest liked items whose mean popularity is compared with

    def __post_init__(self) -> None:
        for window in self.windows:
            duration(window)
        if self.usual < 1:
            raise ConfigError(f"usual is {self.usual}, expected at least 1", where="features.counts")

    def fit(self, data: Dataset, *, seed: int) -> ItemCounts:
        code, least = which(data.kinds, self.kinds, "features.counts: kinds")
        log = _Log.of(data.events, code, least)
        return ItemCounts(self.windows, self.usual, code, least, log.time, log.key, verb(self.kinds))


@dataclass(frozen=True)
class ItemCounts:
    """Columns of float32: `count.all`, `count.7d` ... log(1 + events), `count.since` log(1 + hours since the last one),
    `count.age` days since the first, `count.usual` the mean `count.all` of the person's newest liked items, NaN without
    any, and `count.beside` what the candidate's is above it."""

    windows: tuple[str, ...]
    usual: int
    code: NDArray[np.uint8]  # (K,) of the kinds that count
    least: Scores  # (K,) the value from which on an event of the kind counts
    time: NDArray[np.int64]  # (E,) of the events that count, rising
    key: NDArray[np.int64]  # (E,) item << 32 | place in the order of time, rising
    done: str = "liked"  # what the events say, in words

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        logs, now = self._logs.held, queries.time[found.query]
        spans = [log.spans(queries.time, found.query, found.item) for log in logs]
        made = {"count.all": np.log1p(sum(end - begin for begin, end in spans))}
        for window in self.windows:
            since = queries.time - duration(window)
            count = sum(
                end - log.ends(since, found.query, found.item) for log, (_, end) in zip(logs, spans, strict=True)
            )
            made[f"count.{window}"] = np.log1p(count)
        first, last = _first_and_last(logs, spans)
        made["count.since"] = np.log1p(np.maximum(now - last, 0) / HOUR)
        made["count.age"] = (now - first) / DAY
        usual = self._usual(logs, queries)[found.query]
        made |= {"count.usual": usual, "count.beside": made["count.all"] - usual}
        return {name: column.astype(np.float32) for name, column in made.items()}

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, what = name.partition(".")
        if group != "count":
            return None
        never, new = f"not {self.done} yet", "you have liked nothing yet"
        if what == "since":
            return number(np.round(np.expm1(value)), f"{self.done} last {{value}} hours ago", never)
        if what == "age":
            return number(value, f"first {self.done} {{value}} days ago", never)
        if what == "usual":
            return number(np.expm1(value), f"what you like is {self.done} {{value}} times", new)
        if what == "beside":
            return number(np.exp(value), f"{self.done} {{value}} times as often as what you like", new)
        if what not in ("all", *self.windows):
            return None
        return times(float(np.expm1(value)), self.done, "" if what == "all" else f"in the last {span(what)}")

    def update(self, events: Events) -> None:
        self._logs.add(_Log.of(events, self.code, self.least))

    def _usual(self, logs: tuple[_Log, ...], queries: Queries) -> NDArray[np.float64]:
        """(B,) mean popularity of the newest liked items, at the moment asked."""
        liked = queries.history.where(queries.history["weight"] > 0).last(self.usual)
        spans = [log.spans(queries.time, liked.owner, liked["item"]) for log in logs]
        popularity = np.log1p(sum(end - begin for begin, end in spans))
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.bincount(liked.owner, popularity, len(queries)) / liked.length
        return mean

    @cached_property
    def _logs(self) -> Growing[_Log]:
        return Growing(_Log(self.time, self.key))


class _Log(NamedTuple):
    """Events by time and by item."""

    time: NDArray[np.int64]
    key: NDArray[np.int64]

    @property
    def size(self) -> int:
        return len(self.time)

    @staticmethod
    def of(events: Events, code: NDArray[np.uint8], least: Scores) -> _Log:
        counts = counted(events, code, least) & (events.item >= 0)
        return _Log.sorted(events.item[counts], events.time[counts])

    @staticmethod
    def sorted(item: Rows, time: NDArray[np.int64]) -> _Log:
        order = ops.stable_order(time)
        key = (item[order].astype(np.int64) << PLACE) | np.arange(len(order))
        return _Log(time[order], key[ops.stable_order(key)])

    def spans(self, time: NDArray[np.int64], query: Rows, item: Rows) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(N,) twice: where in `key` the events of each item begin, and end before the `time` (B,) of its query."""
        return self._begin(item), self.ends(time, query, item)

    def ends(self, time: NDArray[np.int64], query: Rows, item: Rows) -> NDArray[np.intp]:
        """(N,) where in `key` the events of each item end that were before the `time` (B,) of its query."""
        place = np.searchsorted(self.time, time)
        return np.searchsorted(self.key, (item.astype(np.int64) << PLACE) | place[query])

    def _begin(self, item: Rows) -> NDArray[np.intp]:
        named, back = np.unique(item, return_inverse=True)  # far fewer than rows: they are looked up once
        return np.searchsorted(self.key, named.astype(np.int64) << PLACE)[back]

    def joined(self, other: _Log) -> _Log:
        item = np.concatenate([self._items(), other._items()])
        return _Log.sorted(item, np.concatenate((self.time, other.time)))

    def _items(self) -> Rows:
        """(E,) in the order of time."""
        items = np.empty(len(self.key), np.int32)
        items[self.key & ((1 << PLACE) - 1)] = self.key >> PLACE
        return items


def _first_and_last(
    logs: tuple[_Log, ...], spans: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) the times of the first and the last event of each span; NaN = none."""
    count = len(spans[0][0])
    first, last = np.full(count, np.nan), np.full(count, np.nan)
    for log, (begin, end) in zip(logs, spans, strict=True):
        some: Mask = end > begin
        first[some] = np.fmin(first[some], log.time[log.key[begin[some]] & ((1 << PLACE) - 1)])
        last[some] = np.fmax(last[some], log.time[log.key[end[some] - 1] & ((1 << PLACE) - 1)])
    return first, last
