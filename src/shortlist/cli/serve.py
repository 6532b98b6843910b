"""`shortlist serve`."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist serve
    shortlist serve --port 9000
    shortlist serve --workers 0
    shortlist serve --host 0.0.0.0
    """,
    """
    Answer over HTTP until Ctrl-C: lists, similar items, events, items and people, health, metrics. Beyond loopback
    only with a key (shortlist keys). A release that is published meanwhile is taken over without a pause. With --json
    the addresses are printed as one object when it is ready. Told to stop (SIGTERM), it finishes what it began and
    ends with exit code 0. Several workers share one address; one of them writes, and one that dies is started again.
    """,
)


def serve(
    port: Annotated[
        int | None, typer.Option(metavar="N", min=0, max=65535, help="0 = any free one; default: [serve] port.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen; default: [serve] host.")] = "",
    workers: Annotated[int, typer.Option(metavar="N", min=0, max=256, help="Processes; 0 = one a core.")] = 1,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.config import load
    from shortlist.serve import http
    from shortlist.serve import workers as several

    screen = Screen(json=json, quiet=quiet)

    def announce(url: str, version: str) -> None:
        screen.say(f"serving {version}" if version else "no release yet: newest items only, until one is published")
        addresses(screen, url)
        screen.result("serve", {"url": url, "release": version or None})
        screen.say("press Ctrl-C to stop")

    if host:
        os.environ["SHORTLIST__SERVE__HOST"] = host  # for the processes of several workers too
    settings = load(config)
    count = workers or several.cores()
    if count > 1:
        several.serve(settings, config, count, port=port, announce=announce)
    else:
        http.serve(settings, port=port, announce=lambda url, runtime: announce(url, runtime.release.version))


def addresses(screen: Screen, url: str) -> None:
    """Where to look and what to read."""
    for path, what in (("/", "people and their lists"), ("/docs", "every address, to try"), ("/metrics", "figures")):
        screen.say(f"  {url + path:<34} {what}")
