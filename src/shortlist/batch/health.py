"""Is the data fit to learn from, and is what is served made of it: checks with what was measured and what to do."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from shortlist import ops, release
from shortlist.batch.golden import warm_up
from shortlist.batch.steps import by_role
from shortlist.batch.train import read_window
from shortlist.config import Settings
from shortlist.data.held import AHEAD
from shortlist.dataset import DAY, Dataset
from shortlist.errors import DataError, ReleaseError, ShortlistError, StoreError
from shortlist.protocols import Catalog
from shortlist.stores import Stores
from shortlist.types import Column, Columns, Mask, Rows

STALE = 7  # days without an event
OLD = 30  # days since the release was made
LOST = 0.05  # share of events that do not join
COLD_ITEMS, COLD_USERS = 0.5, 0.8
FEW = 3  # events of a person that nothing can be learned from
TWICE = 0.01  # share of events that were told twice
LIKED = 0.01  # share of events that speak for an item
LOOKED_AT = 1_000  # ids that are compared in other spellings
SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "without spaces around them": str.strip,
    "in lower case": str.lower,
    "in upper case": str.upper,
    "without leading zeros": lambda id: id.lstrip("0"),
    "without .0 at the end": lambda id: id.removesuffix(".0"),
    "as the number alone": lambda id: "".join(filter(str.isdigit, id)),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. An error has the exit code that fits it, and everything but "ok" a remedy."""

    check: str
    level: Literal["ok", "warning", "error"]
    said: str
    remedy: str = ""
    exit_code: int = 0


def ok(check: str, said: str) -> Finding:
    return Finding(check, "ok", said)


def judged(check: str, said: str, wrong: bool, remedy: str) -> Finding:
    """A warning when something is wrong."""
    return Finding(check, "warning", said, remedy) if wrong else ok(check, said)


def examine(settings: Settings, stores: Stores, now: int) -> Iterator[Finding]:
    """Everything that can be told from the stores, the rejects and the releases; `now` in microseconds."""
    try:
        data = read_window(settings, stores.catalog, stores.log)
    except DataError:
        data = None
    if data is None or not len(data):
        yield Finding(
            "events", "error", "no events", "load some with: shortlist ingest EVENTS.csv", DataError.exit_code
        )
    else:
        yield ok("events", f"{len(data):,} of {data.n_users:,} people and {data.n_items:,} items")
        yield from _data(settings, stores.catalog, data, now)
    yield from _aside(settings, stores)
    yield from _release(settings, stores, data, now)
    yield from _index(stores)


def _index(stores: Stores) -> Iterator[Finding]:
    """How much of the true nearest the index finds, space by space, as measured when each was built."""
    remedy = "give its URL more breadth, links, bits or cells, or another kind: docs/howto/choose-an-index.md"
    for each in stores.index.spaces():
        said = f"{each.name}: {each.rows:,} vectors of {each.width}, {each.metric}, {each.kind}"
        said += f", recall {each.recall:.3f}"
        if each.recall < each.floor:
            yield Finding("index", "error", f"{said}, under its floor of {each.floor}", remedy, StoreError.exit_code)
        else:
            yield ok("index", said)


def _data(settings: Settings, catalog: Catalog, data: Dataset, now: int) -> Iterator[Finding]:
    events = data.events
    yield _join("items join", "item", data.items, events.item, data.n_items, catalog)
    yield _join("users join", "user", data.users, events.user, data.n_users, catalog)
    met = np.bincount(events.item, minlength=data.n_items)
    cold = _share(int(np.sum(met == 0)), data.n_items)
    yield judged(
        "cold items",
        f"{cold:.1%} of the items have no event",
        cold > COLD_ITEMS,
        "they are shown by the sources of new items only: check that ids join, or learn from a longer [train] window",
    )
    did = np.bincount(events.user, minlength=data.n_users)
    few = _share(int(np.sum(did < FEW)), data.n_users)
    yield judged(
        "cold users",
        f"{few:.1%} of the people have fewer than {FEW} events, half have {int(np.median(did)):,} or more",
        few > COLD_USERS,
        "their lists come from what is popular and what is in view: send `context` and `events` with the request",
    )
    order, begins = ops.grouped(events.user, events.item, events.kind, events.time)
    again = _share(len(order) - int(begins.sum()), len(data))
    yield judged(
        "duplicates",
        f"{again:.2%} of the events repeat person, item, kind and time of another",
        again > TWICE,
        "two sources may tell the same: name the column of the event id (`id`), the same id counts once",
    )
    yield _times(data, now)
    days = (now - int(events.time[-1])) / DAY
    yield judged(
        "stale data",
        f"the newest event is {_ago(days)} old",
        days > STALE,
        "look whether whoever sends events still does, or load what is missing: shortlist ingest",
    )
    yield _positives(settings, data)


def _join(check: str, entity: str, facts: Columns, rows: Rows, size: int, catalog: Catalog) -> Finding:
    """Do the ids of events name something that the catalogue knows more of than the id?"""
    if not facts:
        remedy = f"load them for filters, titles and reasons: shortlist ingest {entity.upper()}S.csv --kind {entity}s"
        return judged(check, f"nothing is known of any {entity} but its id", entity == "item", remedy)
    known = _known(facts, size)
    lost = ~known[rows]
    share = _share(int(lost.sum()), len(rows))
    said = f"{share:.1%} of the events name {entity}s without facts"
    strange = np.unique(rows[lost])[:LOOKED_AT]
    if share <= LOST:
        return ok(check, said)
    ids = catalog.ids(entity, strange)
    said += f", such as {ids[0]!r}"
    spelled = _spelled(ids, set(catalog.ids(entity, np.flatnonzero(known).astype(np.int32))))
    remedy = f"load the missing {entity}s, or write their ids alike in both files: they are compared letter by letter"
    if spelled:
        how, count = spelled
        remedy = f"{count} of {len(ids)} would join {how}: write the ids alike in both files, then load both again"
    return judged(check, said, True, remedy)


def _known(facts: Columns, size: int) -> Mask:
    """(R,) true for rows of which at least one fact is known."""
    known = np.zeros(size, np.bool_)
    for column in facts.values():
        known |= _filled(column)
    return known


def _filled(column: Column) -> Mask:
    if column.dtype == object:
        return np.fromiter(map(bool, column), np.bool_, len(column))
    filled: Mask = ~np.isnan(column) if column.dtype.kind == "f" else column != -1
    return filled


def _spelled(ids: Sequence[str], known: set[str]) -> tuple[str, int] | None:
    """Another spelling in which ids would join, and how many."""
    plain = {how: {spell(id) for id in known} for how, spell in SPELLINGS.items()}
    found = {how: sum(spell(id) in plain[how] and spell(id) != "" for id in ids) for how, spell in SPELLINGS.items()}
    best = max(found, key=lambda how: found[how])
    return (best, found[best]) if found[best] >= max(1, len(ids) // 10) else None


def _times(data: Dataset, now: int) -> Finding:
    time = data.events.time
    ahead = int(np.sum(time > now + AHEAD))
    first, last = (str(np.datetime64(int(each), "us").astype("datetime64[s]")) for each in (time[0], time[-1]))
    said = f"from {first} to {last} UTC"
    if ahead:
        remedy = "see that the clocks of those who send are right, and time_unit in [ingest]"
        return judged("times", f"{said}; {ahead:,} events lie in the future", True, remedy)
    same = len(time) > 1 and time[0] == time[-1]
    return judged("times", said, same, "all times are equal: name the column that holds them (`time`) and load again")


def _positives(settings: Settings, data: Dataset) -> Finding:
    """Does any event speak for an item, as the kinds are configured?"""
    liked = int(np.sum(data.weight > 0))
    share = _share(liked, len(data))
    if liked and share >= LIKED:
        return ok("positives", f"{liked:,} events ({share:.1%}) speak for an item")
    events, reasons = data.events, []
    for name, kind in settings.kinds.table.items():
        value = events.value[events.kind == kind.code]
        count = f"{len(value):,} {name}"
        if not len(value):
            continue
        if kind.weight == 0:
            reasons.append(f"{count}: weight 0 says nothing")
        elif kind.weight < 0:
            reasons.append(f"{count}: weight {kind.weight:g} is a dislike")
        elif float(value.max()) < kind.least:
            reasons.append(f"{count}: least = {kind.least:g} lies above every value, the largest is {value.max():g}")
    unknown = ~np.isin(events.kind, [kind.code for kind in settings.kinds.table.values()])
    if unknown.any():
        codes = ", ".join(map(str, np.unique(events.kind[unknown]).tolist()))
        reasons.append(f"{int(unknown.sum()):,} events have codes that no kind in [events.kinds] has: {codes}")
    because = "; ".join(reasons) or "most are repeats beyond the cap of their kind"
    remedy = "change weight, least or cap in [events.kinds], see: shortlist config explain events.kinds"
    if liked:
        return judged("positives", f"only {liked:,} events ({share:.2%}) speak for an item: {because}", True, remedy)
    return Finding("positives", "error", f"your configuration yields 0 positives because {because}", remedy, 5)


def _aside(settings: Settings, stores: Stores) -> Iterator[Finding]:
    """What came and could not be taken."""
    held = next((each.held for each in stores.backends.values() if hasattr(each, "held")), None)
    if held is not None:
        waiting = held.count()
        most = ", ".join(f"{item!r} ({count})" for item, count in list(waiting.items())[:3])
        total = sum(waiting.values())
        said = f"{total:,} events wait for their item" + (f", most for {most}" if most else "")
        yield judged("held events", said, total > 0, "load or put the items; the events happen then")
    reasons = _rejects(settings.rejects_path)
    said = f"{sum(reasons.values()):,} rows were refused"
    if reasons:
        said += ": " + ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common(3))
    remedy = "look at them with: shortlist events tail --rejected; mend the rows and load them again"
    yield judged("rejected rows", said, bool(reasons), remedy)


def _rejects(folder: Path) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        with path.open(encoding="utf-8") as lines:
            reasons.update(str(json.loads(line).get("reason")) for line in lines if line.endswith("\n"))
    return reasons


def _release(settings: Settings, stores: Stores, data: Dataset | None, now: int) -> Iterator[Finding]:
    root = settings.releases_path
    train = "make one with: shortlist train --publish"
    try:
        version = release.current(root)
        if version is None:
            yield judged("release", "none is published: only the newest items are shown", True, train)
            return
        loaded = release.load(root, version, by_role(stores), trust=settings.releases.trust)
        warm_up(loaded, stores.catalog, now)
    except ShortlistError as error:
        remedy = error.hint or "go back to the one before with: shortlist rollback"
        yield Finding(
            "release", "error", f"the published one cannot be served: {error}", remedy, ReleaseError.exit_code
        )
        return
    yield ok("release", f"{version}: {', '.join(sorted(loaded.pipelines))}; every file is whole")
    again = "train again with: shortlist train --publish"
    seconds = release.age(loaded.facts, now)
    if seconds is not None:
        days = seconds / 86_400
        if days < -AHEAD / DAY:
            said = f"made {_ago(-days)} in the future"
            yield judged("release age", said, True, "set the clock of this machine, or train again")
        else:
            yield judged("release age", f"made {_ago(days)} ago", days > OLD, again)
    if data is not None and len(data):
        missed = int(np.sum(data.events.time > int(loaded.facts.get("last_event") or 0)))
        items = max(0, data.n_items - int(loaded.facts.get("items") or 0))
        share = _share(missed, len(data))
        said = f"{missed:,} events ({share:.1%}) and {items:,} items have come since it was trained"
        yield judged("release lag", said, share > 0.2 or items > 0.2 * data.n_items, again)
    refused = [each for each in release.history(root) if each.action == "refuse" and each.release > version]
    if refused:
        last = refused[-1]
        said = f"{last.release} was refused: {', '.join(last.failed)}"
        yield judged("refused release", said, True, f"see why with: shortlist publish {last.release}")
    else:
        yield ok("refused release", "none since the one that is served")


def _share(part: int, whole: int) -> float:
    return part / max(1, whole)


def _ago(days: float) -> str:
    """A length of time as people say it."""
    if days >= 2:
        return f"{days:.0f} days"
    return f"{days * 24:.0f} hours" if days >= 2 / 24 else f"{max(days, 0) * 1440:.0f} minutes"
