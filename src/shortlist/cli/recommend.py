"""`shortlist recommend`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Count, Facts, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist recommend 42
    shortlist recommend 42 -n 5 --trace
    shortlist recommend 42 -n 3 --why
    shortlist recommend 42 --where "year >= 1990 and 'Drama' in genres"
    shortlist recommend 42 --at 1998-03-01T00:00:00Z --json
    shortlist recommend 42 --fact pid=430548_1007
    """,
    """
    The list of one person from the published release, with a reason for each item. Works beside a running server.
    Somebody unknown gets the list of a newcomer.
    """,
)


def recommend(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id as it was ingested.")],
    count: Count = 10,
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="Which pipeline answers.")] = "home",
    where: Annotated[str, typer.Option(metavar="CONDITION", help="A condition on item columns.")] = "",
    at: Annotated[str, typer.Option(metavar="TIME", help="With the history up to then (ISO 8601, UTC).")] = "",
    fact: Facts = None,
    trace: Annotated[bool, typer.Option("--trace", help="What each stage did and how long it took.")] = False,
    why: Annotated[bool, typer.Option("--why", help="Everything that led to each item, stage by stage.")] = False,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.cli.answers import asked, facts, show, titles
    from shortlist.config import load
    from shortlist.serve.problems import Refusal
    from shortlist.serve.why import ExplainRequest, explain
    from shortlist.serve.wire import Question, RecommendRequest

    screen = Screen(json=json, quiet=quiet)
    with asked(load(config), at) as service:
        ask = RecommendRequest(
            user_id=user,
            scenario=pipeline,
            n=count,
            filter=where,
            facts=facts(fact),
            explain="full" if trace else "short",
            fields=titles(service),
        )
        (answer,) = service.recommend([ask], ["command-line"], [""])
        if isinstance(answer, Refusal):
            raise answer
        if service.catalog.rows("user", [user])[0] < 0:
            screen.say(f"{user!r} is unknown: this is what a newcomer gets")
        told = []
        if why:
            question = {name: getattr(ask, name) for name in Question.__struct_fields__}
            told = [
                explain(service, ExplainRequest(item_id=item.id, **question), "command-line") for item in answer.items
            ]
        show(screen, "recommend", answer, trace=trace, why=told)
