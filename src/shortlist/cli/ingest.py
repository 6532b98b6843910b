"""`shortlist ingest`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from shortlist.cli.failures import Usage
from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen
from shortlist.errors import ConfigError

if TYPE_CHECKING:
    from shortlist.config import Settings
    from shortlist.data.mapping import Mapping
    from shortlist.data.tally import Summary
    from shortlist.stores import Stores

HELP = described(
    """
    shortlist ingest
    shortlist ingest ratings.csv films.csv
    shortlist ingest clicks.jsonl --map user=visitor --map time=ts
    shortlist ingest people.csv --kind users
    shortlist ingest "postgresql://reader@db/shop#SELECT * FROM orders"
    """,
    """
    Load events, items and users: CSV, TSV, | and :: separated text, JSONL, Parquet, or SQL by URL. Without FILE
    everything that shortlist.toml names under [ingest]; a FILE that it does not name is guessed.

    Loading again adds nothing twice. A row that cannot be used never stops a load: it goes to a rejects file with
    line, reason and remedy.
    """,
)
Entity: TypeAlias = Literal["events", "items", "users"]
ROLES = {"user": "user", "item": "item", "value": "value", "time": "time", "kind": "kind_column", "id": "id"}
ORDER = ("items", "users", "events")


def ingest(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="Files or SQL URLs.")] = None,
    kind: Annotated[Entity | None, typer.Option(help="What the files hold, where it is not recognised.")] = None,
    map: Annotated[
        list[str] | None, typer.Option("--map", metavar="ROLE=COLUMN", help=f"ROLE is one of {', '.join(ROLES)}.")
    ] = None,
    time_unit: Annotated[
        str | None, typer.Option(metavar="UNIT", help='s, ms, us, iso, or a pattern such as "%d.%m.%Y".')
    ] = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch.steps import open_configured
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    roles: dict[str, Any] = dict(_role(each) for each in map or [])
    if time_unit is not None:
        roles["time_unit"] = time_unit
    jobs = list(_jobs(settings, files or [], kind, roles))
    if not jobs:
        raise ConfigError(
            "there is nothing to load: no FILE is given, and [ingest] names none",
            where=str(config),
            hint="run: shortlist ingest FILE..., or: shortlist init FILE...",
        )
    with open_configured(settings) as stores:
        done = list(loaded(screen, settings, stores, jobs))
    screen.result("ingest", {"sources": [plain(each) for each in done]})
    screen.next("shortlist train")


def configured(settings: Settings) -> dict[str, tuple[str, Mapping]]:
    """(source, mapping) of every table under [ingest], by the whole name of the source."""
    from shortlist.data.sources import expand

    return {
        str(Path(source).resolve()) if "://" not in source else source: (source, mapping)
        for mapping in settings.ingest.values()
        for source in expand(mapping.source, settings.home)
    }


def loaded(
    screen: Screen, settings: Settings, stores: Stores, jobs: Iterable[tuple[str, Mapping]]
) -> Iterator[Summary]:
    """Loads every job, facts before events, and says what came of it."""
    from datetime import UTC, datetime

    from shortlist.data.load import load as load_source

    now = int(datetime.now(UTC).timestamp() * 1e6)
    written: set[Path] = set()
    held = next((each.held for each in stores.backends.values() if hasattr(each, "held")), None)
    for source, mapping in sorted(jobs, key=lambda job: ORDER.index(job[1].entity)):
        rejects = _unwritten(settings.rejects_path, _stem(source), written)
        with screen.progress(_stem(source)) as progress:
            summary = load_source(
                source,
                mapping,
                stores.catalog,
                stores.log,
                kinds=settings.kinds,
                now=now,
                rejects=rejects,
                progress=progress,
                held=held,
            )
        _tell(screen, summary)
        yield summary


def _jobs(
    settings: Settings, files: list[str], kind: Entity | None, roles: dict[str, Any]
) -> Iterator[tuple[str, Mapping]]:
    """(source, mapping) of everything to load: the tables of the configuration, or what is guessed."""
    from shortlist.data.guess import guess

    known = configured(settings)
    if not files:
        yield from known.values()
    for file in files:
        found = known.get(file if "://" in file else str(Path(file).resolve()))
        mapping = found[1] if found else guess([file], kind)[0].mapping
        if found and kind:
            mapping = replace(mapping, entity=kind)
        yield file, replace(mapping, **roles)


def _role(given: str) -> tuple[str, str]:
    role, equals, column = given.partition("=")
    if not equals or role not in ROLES:
        raise Usage(
            f"{given!r} is not ROLE=COLUMN", where="--map", hint=f"ROLE is {', '.join(ROLES)}: --map user=visitor"
        )
    return ROLES[role], column


def _stem(source: str) -> str:
    """A short name of a file or URL, fit for a file name."""
    if "://" not in source:
        return Path(source).name
    scheme, _, rest = source.partition("://")
    table = rest.partition("#")[2]
    return f"{scheme}-{table}" if table.isidentifier() else scheme


def _unwritten(folder: Path, stem: str, written: set[Path]) -> Path:
    """Where the rejects of one source go: two sources of this run never share a file."""
    names = (stem, *(f"{stem}-{n}" for n in range(2, len(written) + 2)))
    path = next(each for name in names if (each := folder / f"{name}.rejects.jsonl") not in written)
    written.add(path)
    return path


def _tell(screen: Screen, summary: Summary) -> None:
    parts = [f"{summary.accepted:,} accepted", f"{summary.duplicate:,} duplicate"]
    if summary.held:
        parts.append(f"{summary.held:,} held")
    if summary.released:
        parts.append(f"{summary.released:,} released")
    parts.append(f"{sum(summary.rejected.values()):,} rejected")
    rate = summary.rows / max(summary.seconds, 1e-3)
    screen.text(f"{summary.source}: {summary.rows:,} {summary.entity}: {', '.join(parts)}")
    screen.say(f"  {summary.seconds:.1f} s, {rate:,.0f} rows/s")
    for reason, count in summary.rejected.items():
        screen.text(f"  {count:>9,} {reason}")
    for warning in summary.warnings:
        screen.say(f"  note: {warning}")
    if summary.rejects:
        screen.text(f"  rejected rows with reason and remedy: {summary.rejects}")


def plain(summary: Summary) -> dict[str, Any]:
    rejects = str(summary.rejects) if summary.rejects else None
    return {**asdict(summary), "rejects": rejects, "warnings": list(summary.warnings)}
