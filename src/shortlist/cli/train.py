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
    publish: Annotated[bool, typer.Option("--publish", help="Make it current at once, without evaluating.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist import release
    from shortlist.batch import steps
    from shortlist.batch.train import read_window
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    with steps.open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        screen.say(f"{len(data):,} events of {data.n_users:,} people and {data.n_items:,} items")
        made, facts = steps.make_release(settings, data, stores, created=datetime.now(UTC), progress=screen.fitted)
    if publish:
        release.publish(settings.releases_path, made)
    screen.text(f"release {made}")
    screen.result("train", {"release": made, "published": publish, "facts": dict(facts)})
    screen.next("shortlist serve" if publish else f"shortlist evaluate, then: shortlist publish {made}")
