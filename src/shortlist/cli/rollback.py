"""`shortlist rollback`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist rollback
    shortlist rollback --to 2026-11-21T221002-ab12cd34 --why "empty lists in the app"
    """,
    """
    Serve the release again that was served before the current one, or the one named. Its files are checked; what it is
    worth was judged when it was published. A running server takes it over within a second.
    """,
)


def rollback(
    to: Annotated[str, typer.Option(metavar="VERSION", help="Default: what was served before.")] = "",
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the history.")] = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release
    from shortlist.cli.publish import who
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    version, before = release.roll_back(load(config).releases_path, to, by=who(), why=why)
    screen.text(f"serving {version} (before: {before or 'nothing'})")
    screen.result("rollback", {"release": version, "before": before})
    screen.next("shortlist models list")
