"""`shortlist publish`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist publish
    shortlist publish 2026-11-21T221002-ab12cd34
    """,
    """
    Check a release file by file, load it, and make it the one that is served: the newest, or the one named. An
    older version named here is a rollback. A server that is running takes it over without a pause.
    """,
)


def publish(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Default: the newest.")] = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release
    from shortlist.batch import steps
    from shortlist.config import load
    from shortlist.errors import NotFound

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    root = settings.releases_path
    known = release.versions(root)
    if not known:
        raise NotFound("there is no release to publish", where=str(root), hint="make one with: shortlist train")
    chosen = version or known[-1]
    before = release.current(root)
    with steps.open_configured(settings, read_only=True) as stores:
        release.load(root, chosen, steps.by_role(stores), trust=settings.releases.trust)
    release.publish(root, chosen)
    screen.text(f"serving {chosen} (before: {before or 'nothing'})")
    screen.result("publish", {"release": chosen, "before": before})
    screen.next("shortlist serve, or: shortlist recommend USER")
