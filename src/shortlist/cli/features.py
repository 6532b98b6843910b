"""`shortlist features`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist features
    shortlist features --window 1d --people 2000
    shortlist features similar --json
    """,
    """
    What the ranker of a pipeline reads: for every column how many candidates have a value, how many an unknown one,
    the spread of the numbers, and how far it has moved since one window ago (population stability index). The people
    who were active last are asked for, as they were then and as they are now.
    """,
)


def features(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="The pipeline whose columns are meant.")] = "home",
    window: Annotated[str, typer.Option(metavar="TIME", help="How long ago the other moment is.")] = "7d",
    people: Annotated[int, typer.Option(min=1, max=100_000, help="People asked for at each moment, at most.")] = 500,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch.columns import two_moments
    from shortlist.batch.train import read_window
    from shortlist.config import load
    from shortlist.errors import NotFound
    from shortlist.eval import columns
    from shortlist.runtime import Runtime

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    with Runtime.open(settings, read_only=True) as runtime:
        pipelines = runtime.release.pipelines
        if not runtime.release.version:
            raise NotFound("no release is served yet", hint="shortlist train && shortlist publish")
        if pipeline not in pipelines:
            raise NotFound(f"no pipeline {pipeline!r}; there are: {', '.join(sorted(pipelines))}", where="PIPELINE")
        data = read_window(settings, runtime.catalog, runtime.stores.log)
        asked = two_moments(pipelines[pipeline], data, window, people)
    told = columns.describe(asked.before, asked.now)
    header, *lines = columns.table(told)
    (then, now), (before, today) = asked.people, asked.rows
    screen.text(f"{today:,} candidates of {now:,} people now, {before:,} of {then:,} people {window} ago\n")
    screen.table(header, lines)
    moved = [each.name for each in told if each.drift >= columns.MOVED]
    if moved:
        screen.text(f"\nmoved: {', '.join(moved)}. Models that were fitted since know what happened since.")
    found = {"pipeline": pipeline, "window": window, "people": asked.people, "rows": asked.rows}
    screen.result("features", {**found, "columns": columns.as_json(told)})
    screen.next("shortlist evaluate")
