"""A data set in one form, whatever its files looked like: for stores through `load`, for benchmarks as a `Dataset`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist import ops
from shortlist.data import text
from shortlist.data.held import Held
from shortlist.data.load import Progress, load_source
from shortlist.data.mapping import Mapping
from shortlist.data.rows import Batch, objects
from shortlist.data.sources import ROWS, Source
from shortlist.data.tally import Summary
from shortlist.dataset import Dataset, Kinds
from shortlist.errors import DataError
from shortlist.protocols import Catalog, EventLog
from shortlist.types import Columns, Events

EVENT_COLUMNS = ("user", "item", "kind", "value", "time")


def _nobody() -> pl.DataFrame:
    return pl.DataFrame(schema={"user": pl.String})


@dataclass(frozen=True)
class Frames:
    """Events, items and users of a data set. Ids are text."""

    name: str
    events: pl.DataFrame  # user, item, kind: text; value: number; time: microseconds UTC
    items: pl.DataFrame  # item, then its facts
    users: pl.DataFrame = field(default_factory=_nobody)  # user, then their facts
    timed: bool = True  # False = times only say in which order a person's events came, or nothing at all


def table(path: Path, names: tuple[str, ...] = (), **form: Any) -> pl.DataFrame:
    """A whole text table as columns of text; `form` as in Mapping. For files known to be good: a bad row raises."""
    mapping = Mapping(names=names, **form)
    batches = list(text.read(path, text.recognise(path, mapping)))
    bad = [reject for batch in batches for reject in batch.bad]
    if bad:
        raise DataError(f"line {bad[0].line}: {bad[0].message}", where=str(path), hint="get the file again")
    return pl.concat([batch.frame for batch in batches])


def to_dataset(frames: Frames, kinds: Kinds | None = None) -> tuple[Dataset, list[str], list[str]]:
    """The data set without a store, and the ids of its user rows and item rows: first the listed, then the others."""
    kinds = kinds or Kinds()
    users = _vocabulary(frames.users["user"], frames.events["user"])
    items = _vocabulary(frames.items["item"], frames.events["item"])
    codes = {name: kind.code for name, kind in kinds.table.items()}
    user = _rows(frames.events["user"], users)
    item = _rows(frames.events["item"], items)
    kind = frames.events["kind"].replace_strict(codes, return_dtype=pl.UInt8).to_numpy()
    value = frames.events["value"].cast(pl.Float32).to_numpy()
    time = frames.events["time"].to_numpy()
    id = ops.event_ids(user, item, kind, value, time)
    events = Events(user, item, kind, value, time, np.zeros(len(user), np.uint64), id)
    data = Dataset.of(
        events,
        len(users),
        len(items),
        kinds=kinds,
        users=_facts(frames.users, "user", users),
        items=_facts(frames.items, "item", items),
    )
    return data, users.to_list(), items.to_list()


def load_frames(
    frames: Frames,
    catalog: Catalog,
    log: EventLog,
    *,
    kinds: Kinds,
    now: int,
    rejects: Path,
    progress: Progress | None = None,
    held: Held | None = None,
) -> list[Summary]:
    """Items, users and events into the stores, as `load` does it; `rejects` is a folder."""
    out = []
    for entity, frame, mapping in (
        ("items", frames.items, Mapping(entity="items", item="item")),
        ("users", frames.users, Mapping(entity="users", user="user")),
        ("events", frames.events, EVENTS),
    ):
        source = Source(f"{frames.name} {entity}", tuple(frame.columns), (), _batches(frame))
        path = rejects / f"{frames.name}-{entity}.jsonl"
        out.append(
            load_source(source, mapping, catalog, log, kinds=kinds, now=now, rejects=path, progress=progress, held=held)
        )
    return out


EVENTS = Mapping(user="user", item="item", kind_column="kind", value="value", time="time", time_unit="us")


def _batches(frame: pl.DataFrame) -> Iterator[Batch]:
    for start in range(0, len(frame), ROWS):
        part = frame.slice(start, ROWS)
        line = np.arange(start + 1, start + 1 + len(part), dtype=np.int64)
        yield Batch(line, part, None, (), (start + len(part)) / len(frame))


def _vocabulary(listed: pl.Series, met: pl.Series) -> pl.Series:
    return pl.concat([listed.alias("id"), met.alias("id")]).unique(maintain_order=True)


def _rows(ids: pl.Series, vocabulary: pl.Series) -> NDArray[np.int32]:
    rows = np.arange(len(vocabulary), dtype=np.int32)
    return ids.replace_strict(vocabulary, pl.Series(rows), return_dtype=pl.Int32).to_numpy()


def _facts(frame: pl.DataFrame, key: str, ids: pl.Series) -> Columns:
    """Facts by row, as a catalogue would read them."""
    joined = ids.to_frame(key).join(frame, on=key, how="left", maintain_order="left")
    return {name: _column(joined[name]) for name in frame.columns if name != key}


def _column(column: pl.Series) -> NDArray[Any]:
    if column.dtype == pl.List:
        return objects([tuple(each or ()) for each in column.to_list()])
    if column.dtype == pl.Datetime:
        return column.cast(pl.Int64).fill_null(-1).to_numpy()
    if column.dtype == pl.Boolean:
        return column.fill_null(False).to_numpy()
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return objects(column.fill_null("").to_list())
