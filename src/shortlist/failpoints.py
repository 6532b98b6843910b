"""Names for the boundaries between two effects, so that a test can end, delay or fail the process exactly there.

`at(name)` does nothing in a program: no environment variable, key or request reaches it. Only a test build, which is
the launcher `benchmarks.faults.child`, calls `arm`. A test compares POINTS with the source: a boundary between two
effects that has no name, and a name that no run has died at, both fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

POINTS: Mapping[str, str] = {
    "lock.taken": "the folder is ours, the file LOCK does not name us yet",
    "lock.cleared": "LOCK does not name the one before us any more, nor us",
    "lock.named": "LOCK names us, the database is not open",
    "commit.before": "statements ran inside a transaction, nothing of them is durable",
    "commit.after": "a transaction is durable, memory does not know",
    "file.written": "a draft is complete, not synced",
    "file.synced": "a draft is on disk under its draft name",
    "file.cleared": "an orphan of the final name is gone",
    "file.renamed": "a file has its final name, its folder is not synced",
    "sweep.removed": "one file that no row names is gone, others may be left",
    "log.segment": "a segment is in place, no row names it",
    "log.committed": "events are durable, their ids are not in memory",
    "log.known": "ids are in memory, the tail is not rolled yet",
    "log.context": "an event column has its type, no event of it is stored",
    "log.erasing": "the log takes nothing more of a user, what it has is still there",
    "log.rolled": "the tail is in segments, what is to be erased is still in them",
    "log.rewritten": "a segment without what was erased is in place, the database names the one with it",
    "log.replaced": "the database names the segment without, the one with it is still there",
    "catalog.ids": "ids have rows, facts of them are not stored",
    "catalog.put": "facts are durable, memory has the old ones",
    "catalog.applied": "facts are in memory, the puts are not compacted",
    "state.written": "a snapshot is in place, the database names the one before",
    "state.named": "the database names the new snapshot, the old one is still there",
    "index.written": "a space is in place, no row names it",
    "index.named": "the database names the new space, the old one is still there",
    "index.changed": "a change of vectors is durable, memory has the old ones",
    "held.named": "the people of events that waited have rows, the events still wait",
    "held.appended": "events that waited are in the log and still held",
    "held.stored": "events about unknown items or people are held or refused, the rest of their batch is not stored",
    "fold.begun": "events are in the log, none of them is folded",
    "fold.features": "features have seen the events, histories have not",
    "fold.pushed": "histories have the events, the offset does not",
    "load.refused": "refused rows are written down, the good ones of their batch are not stored",
    "load.named": "items have rows, their facts or events are not stored",
    "load.put": "facts are stored, events that waited for them still wait",
    "release.swept": "one draft of a dead process, or all of them, are gone, the new one is not begun",
    "release.part": "a part of a release is whole in the draft, the rest is not",
    "release.array": "an array is in the draft of a release, its manifest is not",
    "release.packed": "a draft is complete, it has no version yet",
    "release.renamed": "a release has its name, its folder is not synced",
    "release.pruning": "a release to be removed has the name of a draft, its files are there",
    "release.pruned": "one release is gone, others to be removed are not",
    "release.checked": "a release was found whole, CURRENT names the one before",
    "release.noted": "the history names a release as published, CURRENT names the one before",
    "release.drafted": "the new CURRENT is on disk under its draft name",
    "release.current": "CURRENT names the new release, its folder is not synced",
}
"""Every boundary, and what has and has not happened when it is reached."""

_hit: Callable[[str], None] | None = None


def at(name: str) -> None:
    """The boundary `name` of POINTS is reached."""
    if _hit is not None:
        _hit(name)


def arm(hit: Callable[[str], None] | None) -> None:
    """Call `hit` with the name of every boundary that is reached; None disarms. For test builds."""
    global _hit
    _hit = hit
