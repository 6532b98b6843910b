"""`shortlist publish`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.batch.gate import Gate
    from shortlist.config import Settings
    from shortlist.stores import Stores

HELP = described(
    """
    shortlist publish
    shortlist publish 2026-11-21T221002-ab12cd34
    shortlist publish --force --why "the new catalogue has half the items, as it should"
    """,
    """
    Let a release (the newest, or the one named) through the gate and make it the one that is served: files,
    compatibility, golden lists, empty lists, coverage, overlap, latency and quality beside the live release. A running
    server takes it over without a pause. A refusal ends with exit code 7 and changes nothing.
    """,
)
MARKS = {"pass": "✓", "fail": "✗", "none": "–"}


def publish(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Default: the newest.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Publish although checks failed; the history says so.")
    ] = False,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the history.")] = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch import steps
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    with steps.open_configured(settings, read_only=True) as stores:
        gate = through_the_gate(screen, settings, stores, version, force=force, why=why)
    screen.text(f"serving {gate.release} (before: {gate.live or 'nothing'})")
    screen.result("publish", {"published": True, **as_json(gate)})
    screen.next("shortlist serve, or: shortlist recommend USER")


def through_the_gate(
    screen: Screen, settings: Settings, stores: Stores, version: str, *, force: bool = False, why: str = ""
) -> Gate:
    """Publish; print the table of the gate, also when it refuses."""
    from shortlist.batch import gate

    try:
        passed = gate.publish(settings, stores, version, force=force, by=who(), why=why)
    except gate.GateFailed as refused:
        table(screen, refused.gate)
        screen.result("publish", {"published": False, **as_json(refused.gate)})
        raise
    table(screen, passed)
    if passed.failed:
        screen.say(f"published by force although it failed: {', '.join(passed.failed)}")
    return passed


def table(screen: Screen, gate: Gate) -> None:
    rows = [
        (MARKS[each.verdict], each.name, _figure(each.live), _figure(each.candidate), each.limit, each.hint)
        for each in gate.checks
    ]
    screen.table(("", "check", "live", "candidate", "limit", "what to do"), rows)


def as_json(gate: Gate) -> dict[str, Any]:
    return {
        "release": gate.release,
        "before": gate.live,
        "failed": gate.failed,
        "checks": [asdict(each) for each in gate.checks],
        "seconds": gate.seconds,
    }


def who() -> str:
    """Who types, for the history."""
    import getpass

    try:
        return f"{getpass.getuser()} at the command line"
    except (OSError, KeyError):  # a user without a name
        return "the command line"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
