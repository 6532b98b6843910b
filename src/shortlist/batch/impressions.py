"""What was shown and whether it was taken: the log replayed in order of time, each row read as it was at its moment.

An impression is an event of the kind "shown", labelled 1 when its person took the item within an hour (or in the same
request, where that is known). What was taken without having been shown stands for an impression of its own: logs of
ads hold one row each, shown or clicked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.errors import DataError
from shortlist.pipeline import Pipeline
from shortlist.types import Candidates, Events, Positions, Queries, Ragged, Scores

SHOWN = "shown"  # the kind of event
SOON = DAY // 24  # within which what is taken answers what was shown
BLOCK = 4096  # impressions read at once; features are told of them afterwards
FIRST = 0.1  # share of the impressions, the oldest, that what is below the rankers is fitted on
KEEP = 1000  # newest events of a person that are read as their history


@dataclass(frozen=True, slots=True)
class Shown:
    """Impressions in order of time; those of one question follow one another."""

    event: Positions  # (N,) positions in the events of the window
    question: NDArray[np.int64]  # (N,) rising, one more for each person, moment, request and context
    label: Scores  # (N,) 1 = taken

    def __len__(self) -> int:
        return len(self.event)

    @staticmethod
    def of(data: Dataset) -> Shown:
        events = data.events
        showing, taking = _showing(data)
        event = np.flatnonzero(showing | taking)
        user, item, request, time = events.user[event], events.item[event], events.request[event], events.time[event]
        shown, taken, named = showing[event], taking[event], request > 0
        here, before = _last_shown(shown, taken, time, user, item, request), _last_shown(shown, taken, time, user, item)
        soon = (before >= 0) & (time - time[before] <= SOON)
        before = np.where(named, here, np.where(soon, before, -1))
        answers = taken & (before >= 0)
        label = taken.astype(np.float32)
        label[before[answers]] = 1
        return Shown._asked(events, event[~answers], label[~answers])

    @staticmethod
    def _asked(events: Events, event: Positions, label: Scores) -> Shown:
        said = [events.columns[name][event] for name in sorted(events.columns)]
        keys = [*said, events.request[event], events.user[event], events.time[event]]
        order = np.lexsort(keys)
        new = np.zeros(len(event), np.int64)
        for key in keys:
            new[1:] |= key[order][1:] != key[order][:-1]
        return Shown(event[order], np.cumsum(new), label[order])

    def places(self, data: Dataset) -> NDArray[np.int64]:
        """(N,) the place of each on its list, from 1: in its request, where that is known, or its question; those that
        were shown at once in the order of the log."""
        user, request = data.events.user[self.event], data.events.request[self.event]
        owner = np.where(request > 0, request.view(np.int64), self.question)
        order = np.lexsort((self.event, owner, request > 0, user))
        new = np.zeros(len(order), np.bool_)
        for key in (user, owner, request > 0):
            new[1:] |= key[order][1:] != key[order][:-1]
        begin = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order)) - begin + 1
        return place

    def weights(self, data: Dataset, position: float) -> Scores:
        """(N,) how surely each was looked at: 1 where it was taken, else place ** -position, the propensity of Joachims
        et al. (WSDM 2017): what was shown where few look says little when it was not taken."""
        seen = self.places(data).astype(np.float32) ** np.float32(-position)
        return np.where(self.label > 0, np.float32(1), seen)

    def take(self, positions: NDArray[np.integer]) -> Shown:
        return Shown(self.event[positions], self.question[positions], self.label[positions])


@dataclass(frozen=True, slots=True)
class Read:
    """Impressions as a ranker reads them."""

    queries: Queries
    found: Candidates
    label: Scores


def cut(data: Dataset, most: int = 0) -> tuple[Dataset, Shown]:
    """The past that features are fitted on, and the impressions after it, the newest `most`; 0 = all.

    DataError without rows of both labels.
    """
    shown = Shown.of(data)
    first = max(int(len(shown) * FIRST), len(shown) - most if most else 0)
    time = data.events.time[shown.event]
    later = np.flatnonzero(time >= time[first]) if len(shown) else np.empty(0, np.int64)
    kept = shown.take(later)
    if not 0 < kept.label.sum() < len(kept):
        raise DataError(
            f"of {len(shown):,} impressions {int(shown.label.sum()):,} were taken: rankers need some of both",
            where='train.validation = "impressions"',
            hint=f"load what was shown, as events of the kind {SHOWN!r}, or let rankers learn from lists: leave-last",
        )
    return data.before(int(time[first])), kept


def replay(pipeline: Pipeline, data: Dataset, shown: Shown, since: int | None = None) -> Iterator[Read]:
    """What the features of `pipeline` say of `shown`, at its moment.

    They were fitted on the events before `since` (None = the first of `shown`), and are told of the rest of `data`
    block by block, each after it was read: nothing of a block is known to what counts, however it counts. They know
    all of it afterwards: no other replay may read them.
    """
    if not len(shown):
        return
    histories = _Histories.of(data)
    time = data.events.time
    told = int(np.searchsorted(time, time[shown.event[0]] if since is None else since))
    once = {id(feature): feature for feature in pipeline.features.values()}.values()
    for start in range(0, len(shown), BLOCK):
        block = shown.take(np.arange(start, min(start + BLOCK, len(shown))))
        queries, found = _asked(data, histories, block)
        for feature in pipeline.features.values():
            found = found.with_columns(feature.columns(queries, found))
        yield Read(queries, found, block.label)
        upto = int(np.searchsorted(time, time[block.event[-1]]))
        for feature in once:
            feature.update(data.events.take(np.arange(told, upto)))
        told = upto


def labelled(pipeline: Pipeline, data: Dataset, shown: Shown) -> tuple[Candidates, Scores]:
    """Everything of `replay`, end to end."""
    parts, labels, questions = [], [np.empty(0, np.float32)], 0
    for read in replay(pipeline, data, shown):
        parts.append(Candidates(read.found.query + np.int32(questions), read.found.item, read.found.columns))
        labels.append(read.label)
        questions += len(read.queries)
    return Candidates.concat(parts), np.concatenate(labels)


def _last_shown(
    shown: NDArray[np.bool_], taken: NDArray[np.bool_], time: NDArray[np.int64], *group: NDArray[np.generic]
) -> NDArray[np.int64]:
    """(N,) position of the last showing of the same group that is not later; -1 = none. What is shown and taken at
    once was shown first."""
    order = np.lexsort((taken, time, *group))
    last = np.maximum.accumulate(np.where(shown[order], np.arange(len(order)), -1))
    before, known = order[np.maximum(last, 0)], last >= 0
    for key in group:
        known &= key[before] == key[order]
    found = np.full(len(order), -1, np.int64)
    found[order[known]] = before[known]
    return found


def _showing(data: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(E,) what was shown, (E,) what was taken."""
    showing, taking = np.zeros(256, np.bool_), np.full(256, np.inf, np.float32)
    for name, kind in data.kinds.table.items():
        showing[kind.code] = name == SHOWN
        if kind.weight > 0:
            taking[kind.code] = kind.least
    return showing[data.events.kind], data.events.value >= taking[data.events.kind]


def _asked(data: Dataset, histories: _Histories, block: Shown) -> tuple[Queries, Candidates]:
    events = data.events
    _, first, query = np.unique(block.question, return_index=True, return_inverse=True)
    at = block.event[first]
    user, time = events.user[at], events.time[at]
    facts = {f"fact.{name}": column[at] for name, column in events.columns.items()}
    seed = ops.mix(user.astype(np.uint64) + time.astype(np.uint64))
    queries = Queries.of(user, history=histories.before(at), time=time, seed=seed, columns=facts)
    return queries, Candidates(query.astype(np.int32), events.item[block.event])


@dataclass(frozen=True, slots=True)
class _Histories:
    """Everybody's events, by person and in order of time."""

    lists: Ragged
    user: NDArray[np.int32]  # (E,) of each event of the window
    end: NDArray[np.int64]  # (E,) where in the lists the events of its person before its moment end

    @staticmethod
    def of(data: Dataset) -> _Histories:
        events = data.events
        order = ops.stable_order(events.user)
        user, time = events.user[order], events.time[order]
        new = np.ones(len(order), np.bool_)
        new[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
        end = np.empty(len(order), np.int64)
        end[order] = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
        return _Histories(data.sequences, events.user, end)

    def before(self, event: Positions) -> Ragged:
        """What the person of each event did before it."""
        end = self.end[event]
        start = np.maximum(self.lists.ptr[:-1][self.user[event]], end - KEEP)
        ptr = np.concatenate(([0], np.cumsum(end - start))).astype(np.int64)
        inner = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], end - start)
        return Ragged(ptr, {name: column[inner] for name, column in self.lists.columns.items()})
