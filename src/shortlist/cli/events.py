"""`shortlist events`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.failures import Usage
from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen, write_json

if TYPE_CHECKING:
    from shortlist.config import Settings
    from shortlist.stores import Stores
    from shortlist.types import Events

HELP = described(
    "shortlist events tail --follow\nshortlist events tail --rejected", "What happened, and what was refused."
)
TAIL = described(
    """
    shortlist events tail
    shortlist events tail --follow --kind buy
    shortlist events tail --user 42 -n 100 --json
    shortlist events tail --rejected
    shortlist events tail --held
    """,
    """
    The newest events, oldest first, and with --follow each one as it comes, until Ctrl-C. Reads beside a running
    server. With --follow and --json one object a line. What a server refuses it tells whoever sent it, and counts.
    """,
)
LINE = "{time:<20} {kind:<8} {user:<24} {item:<24} {value:g}"
EVERY = 0.5  # seconds between two looks
PAGE = 100_000  # events looked through at a time, backwards
group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)


@group.command("tail", help=TAIL)
def tail(
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=0, help="Lines to begin with.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    kind: Annotated[str | None, typer.Option(metavar="KIND", help="Only events of this kind.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Only what this person did.")] = None,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Rows that were refused, from the rejects files of `shortlist ingest`.")
    ] = False,
    held: Annotated[bool, typer.Option("--held", help="Events that wait for their item to be known.")] = False,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch.steps import open_configured
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    if rejected and held:
        raise Usage("what was refused does not wait", where="--held", hint="leave out --rejected or --held")
    if rejected:
        if kind is not None or user is not None:
            raise Usage("a row that was refused has no kind and no user", where="--rejected", hint="leave them out")
        _tell(screen, _refused(settings.rejects_path, count, follow), _refusal, follow)
        return
    if kind is not None and kind not in settings.kinds.table:
        raise Usage(
            f"there is no kind of event {kind!r}",
            where="--kind",
            hint=f"choose from: {', '.join(settings.kinds.table)}",
        )
    with open_configured(settings, read_only=True) as stores:
        if held:
            rows = _waiting(stores, count, follow, kind, user)
        else:
            rows = _events(settings, stores, count, follow, kind, user)
        _tell(screen, rows, lambda each: LINE.format(**each), follow)


def _tell(screen: Screen, rows: Iterator[dict[str, Any]], line: Callable[[dict[str, Any]], str], follow: bool) -> None:
    kept = []
    for each in rows:
        if screen.json and follow:
            write_json(each)
        elif screen.json:
            kept.append(each)
        else:
            screen.text(line(each))
    screen.result("events.tail", {"events": kept})


def _refusal(row: Mapping[str, Any]) -> str:
    return f"{row['file']}:{row['line']}: {row['reason']}: {row['message']}; {row['remedy']}: {row['row']}"


def _events(
    settings: Settings, stores: Stores, count: int, follow: bool, kind: str | None, user: str | None
) -> Iterator[dict[str, Any]]:
    """The last `count` events that are wanted, then what comes."""
    import numpy as np

    from shortlist.types import Events

    def wanted(events: Events) -> Events:
        keep = np.ones(len(events), np.bool_)
        if kind is not None:
            keep &= events.kind == settings.kinds.table[kind].code
        if user is not None:
            keep &= events.user == stores.catalog.rows("user", [user])[0]
        return events if keep.all() else events.take(keep)

    end = stop = int(stores.log.end())
    parts: list[Events] = []
    missing = count
    while stop and missing:
        start = max(0, stop - PAGE)
        page = wanted(Events.concat([events for _, events in stores.log.scan(str(start), str(stop))]))
        parts.insert(0, page.take(np.arange(max(0, len(page) - missing), len(page))))
        missing -= len(parts[0])
        stop = start
    yield from _plain(settings, stores, Events.concat(parts))
    at = str(end)
    while follow:
        for offset, events in stores.log.scan(at):
            at = offset
            for backend in stores.backends.values():
                backend.refresh()
            yield from _plain(settings, stores, wanted(events))
        time.sleep(EVERY)


def _waiting(stores: Stores, count: int, follow: bool, kind: str | None, user: str | None) -> Iterator[dict[str, Any]]:
    """The last `count` events that wait for their item and are wanted, then what comes."""
    from json import loads

    held = next((each.held for each in stores.backends.values() if hasattr(each, "held")), None)
    seen, first = 0, True
    while held is not None and (first or follow):
        found = held.all(seen)
        seen = found[-1][0] if found else seen
        events = [loads(text) for _, text in found]
        wanted = [each for each in events if kind in (None, each["kind"]) and user in (None, each["user"])]
        for each in wanted[-count:] if first and count else [] if first else wanted:
            yield {
                **{name: each[name] for name in ("kind", "user", "item", "value", "id")},
                "time": _when(each["time"]),
            }
        first = False
        if follow:
            time.sleep(EVERY)


def _plain(settings: Settings, stores: Stores, events: Events) -> list[dict[str, Any]]:
    """Events with the ids and words of the wire."""
    users, items = stores.catalog.ids("user", events.user), stores.catalog.ids("item", events.item)
    columns = (users, items, events.kind.tolist(), events.value.tolist(), events.time.tolist(), events.id.tolist())
    return [
        {
            "time": _when(moment),
            "kind": settings.kinds.name(kind),
            "user": user,
            "item": item,
            "value": value,
            "id": f"{id[0]:016x}{id[1]:016x}",
        }
        for user, item, kind, value, moment, id in zip(*columns, strict=True)
    ]


def _when(moment: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(moment / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _refused(folder: Path, count: int, follow: bool) -> Iterator[dict[str, Any]]:
    """The last `count` refused rows of every file, then what comes."""
    from json import loads

    read: dict[Path, int] = {}
    first = True
    while first or follow:
        for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
            text = path.read_bytes()
            start = read.get(path, 0) if len(text) >= read.get(path, 0) else 0  # written anew
            whole = text.rfind(b"\n") + 1
            lines = text[start:whole].splitlines()
            read[path] = whole
            for line in lines[-count:] if first and count else [] if first else lines:
                yield loads(line)
        first = False
        if follow:
            time.sleep(EVERY)
