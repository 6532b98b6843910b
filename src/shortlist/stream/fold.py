"""What happened becomes state: one definition, folded while serving, after a restart and in training alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from shortlist.protocols import EventLog, Feature, State
from shortlist.types import Columns, Events


@runtime_checkable
class Resumable(State, Protocol):
    """A state that knows how far into the log it has come, and keeps both together: a snapshot holds the offset with
    everything that was folded up to it, so that after a crash nothing is missing and nothing counts twice."""

    offset: str

    def snapshot(self) -> None: ...


def fold(events: Events, state: State, features: Iterable[Feature], keep: int) -> None:
    """Every feature's own update; then the newest `keep` events of each user as table "user", list "recent".

    In this order, because what fails is folded again as a whole: no history then holds an event twice.
    """
    for feature in features:
        feature.update(events)
    known = (events.user >= 0) & (events.item >= 0)
    told = events if known.all() else events.take(known)
    recent: Columns = {"item": told.item, "kind": told.kind, "value": told.value, "time": told.time}
    state.push("user", "recent", told.user, recent, keep)


def catch_up(log: EventLog, state: Resumable, features: Iterable[Feature], keep: int) -> int:
    """Fold what the log holds beyond `state.offset`; returns how many events that were."""
    features = tuple(features)
    folded = 0
    for offset, events in log.scan(state.offset):
        fold(events, state, features, keep)
        state.offset = offset
        folded += len(events)
    return folded


__all__ = ["Resumable", "catch_up", "fold"]
