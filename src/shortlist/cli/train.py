"""`shortlist train`."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist train
    shortlist train --publish
    shortlist train --config shop/shortlist.toml --json
    """,
    """
    Fit every model and pipeline of shortlist.toml on what was ingested and write a release. Nothing serves it until
    it is published.
    """,
)


def train(
    config: Config = HERE,
    publish: Annotated[
        bool, typer.Option("--publish", help="Let it through the gate at once, see shortlist publish.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release
    from shortlist.batch import steps
    from shortlist.batch.train import read_window
    from shortlist.cli.publish import as_json, through_the_gate
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    with steps.open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        screen.say(f"{len(data):,} events of {data.n_users:,} people and {data.n_items:,} items")
        with screen.learning():
            made, _ = steps.make_release(settings, data, stores, created=datetime.now(UTC), progress=screen.fitted)
        screen.text(f"release {made}")
        gate = through_the_gate(screen, settings, stores, made) if publish else None
    card = release.card(settings.releases_path, made)
    screen.result("train", {"release": made, "facts": card, "gate": None if gate is None else as_json(gate)})
    screen.next("shortlist serve" if publish else f"shortlist publish {made}")
