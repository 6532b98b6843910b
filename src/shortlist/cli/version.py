"""`shortlist version`."""

import platform

from shortlist.cli.options import Json, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist version
    shortlist version --json
    """,
    "Versions of Shortlist, Python and the libraries that decide results: put them into every report of a fault.",
)
LIBRARIES = ("numpy", "scipy", "polars", "starlette", "uvicorn")


def version(json: Json = False) -> None:
    from importlib import metadata

    from shortlist import __version__

    screen = Screen(json=json)
    found = {name: metadata.version(name) for name in LIBRARIES}
    about = {"version": __version__, "python": platform.python_version(), "platform": platform.platform()}
    screen.text(f"shortlist {__version__}, Python {about['python']}, {about['platform']}")
    screen.text(", ".join(f"{name} {number}" for name, number in found.items()))
    screen.result("version", {**about, "libraries": found})
