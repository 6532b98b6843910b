"""One source into the stores: streamed, checked, counted. Loading it again adds nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import TypeAlias

from shortlist.data.events import EventLoad
from shortlist.data.facts import FactLoad
from shortlist.data.held import Held
from shortlist.data.mapping import Mapping
from shortlist.data.sources import Source, open_source, require
from shortlist.data.tally import Refused, Summary, Tally
from shortlist.dataset import Kinds
from shortlist.protocols import Catalog, EventLog

Progress: TypeAlias = Callable[[int, float], None]  # rows so far, share of the source (NaN = not known)


def load(
    source: str | Path,
    mapping: Mapping,
    catalog: Catalog,
    log: EventLog,
    *,
    kinds: Kinds,
    now: int,
    rejects: Path,
    progress: Progress | None = None,
    held: Held | None = None,
) -> Summary:
    """Load a file or SQL URL as `mapping` says. Bad rows go to `rejects` (JSON lines), which is made anew.

    `now` in microseconds; `held` keeps events of unknown items under unknown_items = "hold", and is asked what
    waits when items come. Raises DataError when the source as a whole cannot be read as the mapping says, NotFound,
    StoreError; rows of earlier batches stay loaded then, and loading again is safe.
    """
    with closing(open_source(source, mapping)) as opened:
        return load_source(
            opened, mapping, catalog, log, kinds=kinds, now=now, rejects=rejects, progress=progress, held=held
        )


def load_source(
    opened: Source,
    mapping: Mapping,
    catalog: Catalog,
    log: EventLog,
    *,
    kinds: Kinds,
    now: int,
    rejects: Path,
    progress: Progress | None = None,
    held: Held | None = None,
) -> Summary:
    """`load` for a source that is open already."""
    start = perf_counter()
    tally = Tally(notes=dict.fromkeys(opened.notes))
    loader: EventLoad | FactLoad
    if mapping.entity == "events":
        loader = EventLoad(mapping, catalog, log, kinds, now, opened.where, tally, held)
    else:
        loader = FactLoad(mapping, catalog, log, kinds, now, opened.where, tally, held)
    require(opened, loader.wanted, opened.names)
    with Refused(rejects, opened.where) as refused:
        for batch in opened.batches:
            tally.rows += len(batch.line) + len(batch.bad)
            refused.write(batch.bad, tally)
            if len(batch.line):
                loader.take(batch, refused)
            if progress is not None:
                progress(tally.rows, batch.done)
        loader.finish()
    return Summary(
        source=opened.where,
        entity=mapping.entity,
        rows=tally.rows,
        accepted=tally.accepted,
        duplicate=tally.duplicate,
        held=tally.held,
        rejected=dict(tally.rejected.most_common()),
        created=dict(tally.created),
        released=tally.released,
        warnings=tally.warnings(),
        seconds=perf_counter() - start,
        rejects=rejects if refused.any else None,
    )
