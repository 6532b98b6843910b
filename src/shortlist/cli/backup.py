"""`shortlist backup` and `shortlist restore`."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.batch.backup import Manifest

HELP = described(
    """
    shortlist backup --to /backup/2026-11-22
    shortlist backup --to /backup/2026-11-22 --verify
    """,
    """
    Copy stores, releases, keys and configuration as they are at this moment, beside a running server. With --verify
    every byte is read back. Files that never change are linked where that is possible: copy the folder to another disk
    or machine.
    """,
)
RESTORE = described(
    """
    shortlist restore /backup/2026-11-22 --to /srv/shop
    shortlist restore /backup/2026-11-22 --to /srv/shop --erasures /srv/old
    """,
    """
    Make the installation of a backup anew, as it was at that moment, in a folder where nothing of it is. Every file is
    checked before the first one is in place. --erasures names an installation whose erasures count here too: whoever
    was erased there after the backup is erased again.
    """,
)


def backup(
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    verify: Annotated[bool, typer.Option("--verify", help="Read everything back.")] = False,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from datetime import UTC, datetime

    from shortlist.batch import backup as batch
    from shortlist.config import load

    screen, start = Screen(json=json, quiet=quiet), perf_counter()
    made = batch.backup(load(config), to, created=datetime.now(UTC).isoformat(timespec="seconds"))
    if verify:
        batch.verify(to)
    _tell(screen, "backup", to, made, perf_counter() - start, {"verified": verify})
    screen.next(f"shortlist restore {to} --to DIR")


def restore(
    folder: Annotated[Path, typer.Argument(metavar="FROM", help="A folder made by shortlist backup.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Default: this folder.")] = HERE,
    erasures: Annotated[
        Path | None, typer.Option(metavar="PATH", help="An installation whose erasures count here too.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch import backup as batch

    screen, start = Screen(json=json, quiet=quiet), perf_counter()
    made = batch.restore(folder, to)
    for name, value in made.settings.items():
        screen.say(f"outside the home folder before, so set: {name}={value}")
    erased = 0 if erasures is None else _erase_again(erasures, to)
    _tell(screen, "restore", to, made, perf_counter() - start, {"erased": erased})
    screen.next(f"shortlist serve --config {to}")


def _tell(screen: Screen, command: str, to: Path, made: Manifest, seconds: float, more: dict[str, Any]) -> None:
    screen.text(
        f"{to}: {made.events:,} events, release {made.release or 'none'}, as of {made.created}; "
        f"{len(made.files)} files, {made.bytes / 1e6:,.1f} MB in {seconds:.1f} s"
    )
    told = {"created": made.created, "events": made.events, "release": made.release, "settings": dict(made.settings)}
    screen.result(command, {"folder": str(to), **told, "files": len(made.files), "bytes": made.bytes, **more})


def _erase_again(other: Path, home: Path) -> int:
    """Erase in the installation at `home` whoever was erased in the other one; how many that were."""
    import numpy as np

    from shortlist.batch.steps import open_configured
    from shortlist.config import load
    from shortlist.runtime import Runtime
    from shortlist.serve.metrics import Metrics
    from shortlist.serve.service import Service

    with (
        open_configured(load(other), read_only=True) as there,
        Runtime.open(load(home)) as runtime,
    ):
        privacy = Service(runtime, Metrics()).privacy
        ids = runtime.catalog.ids("user", np.arange(runtime.catalog.size("user"), dtype=np.int32))
        gone = [id for id, erased in zip(ids, there.catalog.erased(ids).tolist(), strict=True) if erased and id]
        for id in gone:
            privacy.erase(id)
        privacy.work()
    return len(gone)
