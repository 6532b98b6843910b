"""`shortlist models`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from pathlib import Path

HELP = described(
    """
    shortlist models list
    shortlist models show 2026-11-21T221002-ab12cd34
    shortlist models verify
    shortlist models prune --keep 5
    """,
    "The releases that were trained: what they are, whether they are whole, which may go.",
)
LIST = described("shortlist models list\nshortlist models list --json", "Every release, newest first.")
SHOW = described(
    "shortlist models show\nshortlist models show VERSION --json",
    "What was recorded with a release, and what happened to it. Default: the one that is served.",
)
VERIFY = described(
    "shortlist models verify\nshortlist models verify VERSION",
    "Compare every file with its SHA-256, of one release or of all. Exit code 7 when one is damaged.",
)
PRUNE = described(
    "shortlist models prune --keep 5\nshortlist models prune --keep 0 --dry-run",
    "Remove old releases. The one that is served and the one before it always stay.",
)
Version = Annotated[str, typer.Argument(metavar="VERSION", help="Default: the one that is served.")]

group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)


@group.command("list", help=LIST)
def show_all(config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist import release

    screen = Screen(json=json, quiet=quiet)
    root = _root(config)
    live, before = release.current(root), release.previous(root)
    found = [_summary(root, version, live, before) for version in reversed(release.versions(root))]
    screen.table(
        ("release", "", "created", "events", "people", "items", "MB"),
        [
            (
                each["release"],
                each["state"],
                *(_cell(each[name]) for name in ("created", "events", "users", "items")),
                each["mb"],
            )
            for each in found
        ],
    )
    screen.result("models.list", {"releases": found})
    screen.next("shortlist publish" if found else "shortlist train")


@group.command("show", help=SHOW)
def show(version: Version = "", config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist import release

    screen = Screen(json=json, quiet=quiet)
    root = _root(config)
    chosen = version or _served(root)
    facts = release.card(root, chosen)
    past = [entry for entry in release.history(root) if entry.release == chosen]
    summary = _summary(root, chosen, release.current(root), release.previous(root))
    screen.table(("", chosen), [(name, _cell(value)) for name, value in {**facts, "MB": summary["mb"]}.items()])
    if past:
        rows = [(each.time, each.action, each.by, each.why, ", ".join(each.failed)) for each in past]
        screen.table(("time", "", "by", "why", "failed"), rows)
    screen.result("models.show", {**summary, "facts": facts, "history": [asdict(each) for each in past]})
    screen.next(f"shortlist models verify {chosen}")


@group.command("verify", help=VERIFY)
def verify(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Default: all of them.")] = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release
    from shortlist.errors import ReleaseError

    screen = Screen(json=json, quiet=quiet)
    root = _root(config)
    found = []
    for each in [version] if version else release.versions(root):
        try:
            release.check(root, each)
        except ReleaseError as error:
            found.append({"release": each, "whole": False, "error": str(error)})
        else:
            found.append({"release": each, "whole": True, "error": ""})
    screen.table(
        ("release", "", ""), [(each["release"], "✓" if each["whole"] else "✗", each["error"]) for each in found]
    )
    screen.result("models.verify", {"releases": found})
    if damaged := [str(each["release"]) for each in found if not each["whole"]]:
        raise ReleaseError(
            f"{len(damaged)} of {len(found)} releases are damaged",
            where=", ".join(damaged),
            hint="restore them from a backup, or train again; shortlist rollback serves an older one",
        )


@group.command("prune", help=PRUNE)
def prune(
    keep: Annotated[int, typer.Option(metavar="N", min=0, help="So many of the newest stay.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go.")] = False,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release

    screen = Screen(json=json, quiet=quiet)
    root = _root(config)
    gone = release.superfluous(root, keep) if dry_run else release.prune(root, keep)
    for version in gone:
        screen.text(f"{'would remove' if dry_run else 'removed'} {version}")
    screen.result("models.prune", {"removed": gone, "kept": release.versions(root), "dry_run": dry_run})
    screen.say(f"{len(gone)} of {len(gone) + (0 if dry_run else len(release.versions(root)))} releases")
    screen.next("shortlist models list")


def _root(config: Path) -> Path:
    from shortlist.config import load

    return load(config).releases_path


def _served(root: Path) -> str:
    from shortlist import release
    from shortlist.errors import NotFound

    live = release.current(root)
    if live is None:
        raise NotFound("nothing is published", where=str(root), hint="name a version; see: shortlist models list")
    return live


def _summary(root: Path, version: str, live: str | None, before: str | None) -> dict[str, Any]:
    from shortlist import release
    from shortlist.errors import ReleaseError

    try:
        facts = release.facts(root, version)
    except ReleaseError:
        facts, state = {}, "damaged"
    else:
        state = {live: "live", before: "previous"}.get(version, "")
    size = sum(file.stat().st_size for file in (root / version).rglob("*") if file.is_file())
    told = {name: facts.get(name) for name in ("created", "events", "users", "items")}
    return {"release": version, "state": state, **told, "mb": round(size / 1e6, 1)}


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)
