"""Events that wait for their item: how they are written down, and how they happen when the item comes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import polars as pl

from shortlist import failpoints, ops
from shortlist.dataset import Kinds
from shortlist.protocols import Catalog, EventLog
from shortlist.types import Events, Mask

AHEAD = 300_000_000  # microseconds a clock may run fast
COLUMNS = {
    "user": pl.String,
    "item": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "time": pl.Int64,
    "request": pl.UInt64,
    "id": pl.String,  # 32 hexadecimal digits, "" = made of the facts when the item is known
}


class Held(Protocol):
    """Texts by item id, kept by whoever owns the stores."""

    def add(self, items: Sequence[str], events: Sequence[str]) -> Mask: ...  # true = not held already

    def take_for(self, items: Sequence[str]) -> AbstractContextManager[list[str]]:
        """What is still in the list when the block ends well is forgotten."""
        ...


def note(event: dict[str, Any], context: Mapping[str, int] = {}) -> str:
    """One event with the keys of COLUMNS, and what its context says, as text; equal events, equal text."""
    said = {name: event[name] for name in COLUMNS}
    if known := {name: number for name, number in sorted(context.items()) if number}:
        said["context"] = known
    return json.dumps(said, ensure_ascii=False)


def release(held: Held, items: Sequence[str], catalog: Catalog, log: EventLog, kinds: Kinds, now: int) -> int:
    """Append what waited for `items`, which the catalogue knows by now; how many events were new.

    Ids are made of the times as stated; a time that is still too far ahead of `now` (microseconds) is stored as now.
    """
    with held.take_for(items) as texts:
        known = {text: event for text in texts if (event := json.loads(text))["kind"] in kinds.table}
        texts[:] = known  # an event whose kind the configuration has lost waits for it to come back
        if not texts:
            return 0
        frame = pl.DataFrame([[each[name] for name in COLUMNS] for each in known.values()], COLUMNS, orient="row")
        said = [each.get("context", {}) for each in known.values()]
        names = sorted({name for each in said for name in each})
        context = {name: np.array([each.get(name, 0) for each in said], np.int64) for name in names}
        codes = {name: kind.code for name, kind in kinds.table.items()}
        frame = frame.with_columns(pl.col("kind").replace_strict(codes, return_dtype=pl.UInt8))
        user = catalog.rows("user", frame["user"].to_list(), create=True)
        failpoints.at("held.named")
        item = catalog.rows("item", frame["item"].to_list())
        kind, value, time = (
            frame["kind"].to_numpy(),
            frame["value"].cast(pl.Float32).to_numpy(),
            frame["time"].to_numpy(),
        )
        id = ops.event_ids(user, item, kind, value, time)
        for i, digits in enumerate(frame["id"].to_list()):
            if digits:
                id[i] = int(digits[:16], 16), int(digits[16:], 16)
        time = np.where(time > now + AHEAD, now, time)
        events = Events(user, item, kind, value, time, frame["request"].to_numpy(), id, context)
        return int(np.sum(log.append(events.take(user >= 0))))  # who was erased meanwhile has no row
