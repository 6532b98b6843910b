"""The last answers with what they were made of, in memory: to look at, and to ask about as things stood."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import ReferenceType, ref

import numpy as np
from msgspec import msgpack, structs

from shortlist.pipeline import Pipeline, Step
from shortlist.runtime import Reply
from shortlist.serve import wire
from shortlist.types import Candidates, Columns, Queries

MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Together:
    """Questions that were answered in one call, and the table of their answers."""

    queries: Queries
    slate: Candidates
    effort: float
    release: str  # version
    pipeline: ReferenceType[Pipeline]  # gone when nothing serves it any more
    catalog: int  # version of the items
    errors: Sequence[Step]  # what the answer had to do without
    stages: bytes  # packed wire.Stage


@dataclass(frozen=True, slots=True)
class Remembered:
    """One answer."""

    ask: wire.Question
    packed: bytes  # wire.Recommendation: thousands of objects would keep the collector busy
    places: int
    together: Together
    at: int  # which of the questions
    bytes: int

    @property
    def answer(self) -> wire.Recommendation:
        """As it was given, with every stage."""
        stages = msgpack.decode(self.together.stages, type=list[wire.Stage])
        return structs.replace(msgpack.decode(self.packed, type=wire.Recommendation), trace=stages)

    @property
    def queries(self) -> Queries:
        """The question, alone."""
        return self.together.queries.take(np.array([self.at]))

    @property
    def slate(self) -> Candidates:
        """The answer, alone."""
        rows = self.together.slate.take(self.together.slate.query == self.at)
        return Candidates(np.zeros(len(rows), np.int32), rows.item, rows.columns)

    @property
    def time(self) -> int:
        return int(self.together.queries.time[self.at])


class Memory:
    """At most `count` answers of the last `age` microseconds, and no more than MOST_BYTES of them, by request id."""

    def __init__(self, count: int, age: int) -> None:
        self.count, self.age = count, age
        self._kept: OrderedDict[str, Remembered] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def keep(
        self,
        asks: Sequence[wire.Question],
        answers: Sequence[wire.Recommendation],
        stages: Sequence[wire.Stage],
        places: int,
        queries: Queries,
        reply: Reply,
        catalog: int,
    ) -> None:
        """Remember the answers to `asks`, which were asked together."""
        if not self.count:
            return
        release, pipeline = reply.release, reply.release.pipelines[asks[0].scenario]
        queries.notes.clear()  # nobody reads them any more, and they hold on to models
        together = Together(
            queries,
            reply.slate,
            reply.effort,
            release.version,
            ref(pipeline),
            catalog,
            tuple(reply.trace.errors),
            msgpack.encode(stages),
        )
        size = _bytes(queries, reply.slate) // len(asks)
        packed = [msgpack.encode(answer) for answer in answers]
        with self._lock:
            for at, (ask, answer, said) in enumerate(zip(asks, answers, packed, strict=True)):
                self._drop(answer.request_id)
                kept = Remembered(ask, said, places, together, at, size + len(said))
                self._kept[answer.request_id] = kept
                self._bytes += kept.bytes
            oldest = int(queries.time.max()) - self.age
            while self._kept and (len(self._kept) > self.count or self._bytes > MOST_BYTES or self._first < oldest):
                self._drop(next(iter(self._kept)))

    def find(self, request_id: str, now: int) -> Remembered | None:
        """The answer with that id; None when it is not known (any more)."""
        with self._lock:
            found = self._kept.get(request_id)
        return found if found is not None and found.time >= now - self.age else None

    def forget(self, user: int) -> None:
        """Every answer that the person of this row got, and their history with it."""
        with self._lock:
            rows = [id for id, each in self._kept.items() if each.together.queries.user[each.at] == user]
            for id in rows:
                self._drop(id)

    @property
    def _first(self) -> int:
        return next(iter(self._kept.values())).time

    def _drop(self, request_id: str) -> None:
        gone = self._kept.pop(request_id, None)
        self._bytes -= gone.bytes if gone else 0


def _bytes(queries: Queries, slate: Candidates) -> int:
    tables: tuple[Columns, ...] = (
        queries.history.columns,
        queries.context.columns,
        queries.exclude.columns,
        queries.columns,
        slate.columns,
    )
    return sum(column.nbytes for table in tables for column in table.values()) + queries.allowed.nbytes
