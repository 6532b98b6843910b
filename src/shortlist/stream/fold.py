"""What happened becomes state: one definition, folded while serving, after a restart and in training alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from shortlist import failpoints
from shortlist.errors import StoreError
from shortlist.protocols import EventLog, Feature, State
from shortlist.types import Columns, Events

TRIES = 3  # at one batch, before a feature that fails is left out of it


@runtime_checkable
class Resumable(State, Protocol):
    """A state that knows how far into the log it has come, and keeps both together: a snapshot holds the offset with
    everything that was folded up to it, so that after a crash nothing is missing and nothing counts twice."""

    offset: str

    def snapshot(self) -> None: ...


@dataclass
class Setbacks:
    """What a fold that failed leaves to the next one: nobody is told the same batch twice, and nobody who fails for
    good keeps everybody's histories waiting."""

    stop: str = ""  # the end of the batch that failed
    tries: int = 0
    told: list[Feature] = field(default_factory=list)  # features that have it behind them
    skipped: Counter[str] = field(default_factory=Counter)  # events that a feature was never told, by its class
    error: str = ""  # of the last feature that failed

    def tell(self, features: Sequence[Feature], events: Events, offset: str) -> None:
        """Every feature's own update, once. Weather (StoreError, OSError) is raised, and tried again by the next fold;
        a feature that raises it TRIES times, or anything else at all, is left out of this batch."""
        for feature in features:
            if any(feature is each for each in self.told):
                continue
            try:
                feature.update(events)
            except Exception as error:
                self.stop, self.tries = offset, self.tries + 1
                self.error = f"{type(feature).__name__}: {error!r}"
                if isinstance(error, StoreError | OSError) and self.tries < TRIES:
                    raise
                self.tries = 0
                self.skipped[type(feature).__name__] += len(events)
            self.told.append(feature)
        self.stop, self.tries, self.told = "", 0, []


def fold(events: Events, state: State, features: Iterable[Feature], keep: int) -> None:
    """Every feature's own update; then the newest `keep` events of each user as table "user", list "recent".

    In this order, because what fails is folded again as a whole: no history then holds an event twice.
    """
    for feature in features:
        feature.update(events)
    remember(events, state, keep)


def remember(events: Events, state: State, keep: int) -> None:
    """The newest `keep` events of each user as table "user", list "recent"."""
    known = (events.user >= 0) & (events.item >= 0)
    told = events if known.all() else events.take(known)
    recent: Columns = {"item": told.item, "kind": told.kind, "value": told.value, "time": told.time}
    state.push("user", "recent", told.user, recent, keep)


def catch_up(
    log: EventLog, state: Resumable, features: Iterable[Feature], keep: int, setbacks: Setbacks | None = None
) -> int:
    """Fold what the log holds beyond `state.offset`; returns how many events that were.

    `setbacks` is handed from call to call: what a feature raises is raised here, and the next call goes on from there.
    """
    features, setbacks = tuple(features), setbacks or Setbacks()
    folded = 0
    for offset, events in _batches(log, state.offset, setbacks.stop):
        failpoints.at("fold.begun")
        setbacks.tell(features, events, offset)
        failpoints.at("fold.features")
        remember(events, state, keep)
        failpoints.at("fold.pushed")
        state.offset = offset
        folded += len(events)
    return folded


def _batches(log: EventLog, start: str, stop: str) -> Iterator[tuple[str, Events]]:
    """The log from `start` on, cut at `stop`, where a batch that failed had ended."""
    if stop:
        yield from log.scan(start, stop)
    yield from log.scan(stop or start)


__all__ = ["Resumable", "Setbacks", "catch_up", "fold", "remember"]
