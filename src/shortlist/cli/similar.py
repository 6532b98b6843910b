"""`shortlist similar`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Count, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist similar 50
    shortlist similar 50 -n 5 --json
    """,
    "Items like one item, by what people did with both. Works beside a running server.",
)


def similar(
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The id as it was ingested.")],
    count: Count = 10,
    config: Config = HERE,
    trace: Annotated[bool, typer.Option("--trace", help="What each stage did and how long it took.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.cli.answers import asked, show, titles
    from shortlist.config import load
    from shortlist.serve.wire import SimilarQuery

    screen = Screen(json=json, quiet=quiet)
    with asked(load(config)) as service:
        query = SimilarQuery(n=count, explain="full" if trace else "short", fields=",".join(titles(service)))
        show(screen, "similar", service.similar(item, query, "command-line"), trace=trace)
