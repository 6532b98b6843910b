"""`shortlist serve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.runtime import Runtime

HELP = described(
    """
    shortlist serve
    shortlist serve --port 9000
    """,
    """
    Answer over HTTP on loopback until Ctrl-C: lists, similar items, events, items and people, health, metrics. A
    release that is published meanwhile is taken over without a pause. With --json the addresses are printed as one
    object when it is ready.
    """,
)


def serve(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="0 = any free one; default: [serve] port.")
    ] = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.config import load
    from shortlist.serve.http import serve as answer

    screen = Screen(json=json, quiet=quiet)

    def announce(url: str, runtime: Runtime) -> None:
        version = runtime.release.version
        screen.say(f"serving {version}" if version else "no release yet: newest items only, until one is published")
        addresses(screen, url)
        screen.result("serve", {"url": url, "release": version or None})
        screen.say("press Ctrl-C to stop")

    answer(load(config), port=port, announce=announce)


def addresses(screen: Screen, url: str) -> None:
    """Where to look and what to read."""
    for path, what in (("/", "people and their lists"), ("/docs", "every address, to try"), ("/metrics", "figures")):
        screen.say(f"  {url + path:<34} {what}")
