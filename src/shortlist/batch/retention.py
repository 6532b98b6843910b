"""Events that are older than [retention] allows their kind: out of every file. What was counted of them stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shortlist.config import Settings
from shortlist.dataset import duration
from shortlist.protocols import State
from shortlist.stores import Stores
from shortlist.stores.embedded import Embedded


def retain(
    stores: Stores, settings: Settings, now: int, settle: Callable[[Callable[[State], Any]], Any]
) -> dict[str, int]:
    """Take away what is too old at `now` (microseconds); how much of each place. `settle` changes the state while
    nothing is folded, and writes it out."""
    oldest = {kind: now - duration(limit) for kind, limit in settings.retention.items()}
    if not oldest:
        return {}
    codes = {settings.kinds.table[kind].code: time for kind, time in oldest.items()}
    counts = {
        "events": stores.log.retain(codes),
        "histories": stores.state.retain("user", "recent", codes),
    }
    if counts["histories"]:
        settle(lambda state: None)
    embedded = [each for each in stores.backends.values() if isinstance(each, Embedded)]
    counts["held"] = sum(each.held.retain(oldest) for each in embedded)
    if any(counts.values()):
        for each in embedded:
            each.purge()
    return counts
