"""`shortlist lists`."""

from typing import Annotated

import typer

from shortlist.cli.options import HERE, Config, Count, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist lists sqlite:///movies.db#recommendations
    shortlist lists "mysql://writer:secret@db/films#recommendations" -n 20 --pipeline best_rated
    """,
    """
    Everybody's list from the published release, written into a table of a SQL database: user_id, place, item_id, score.
    The table is made when it is not there; what it held is replaced in one transaction. Works beside a running server.
    """,
)


def lists(
    table: Annotated[str, typer.Argument(metavar="URL", help="A SQL URL with #TABLE.")],
    count: Count = 10,
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="Which pipeline answers.")] = "home",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    import numpy as np

    from shortlist import ops
    from shortlist.batch.train import read_window, run
    from shortlist.cli.answers import asked
    from shortlist.cli.failures import Usage
    from shortlist.config import load
    from shortlist.data import sql
    from shortlist.data.sql_lists import replace
    from shortlist.types import Queries

    screen, settings = Screen(json=json, quiet=quiet), load(config)
    url = sql.located(table, settings.home) if table.startswith("sqlite:///") else table
    with asked(settings) as service:
        pipelines = service.runtime.release.pipelines
        if pipeline not in pipelines:
            raise Usage(
                f"there is no pipeline {pipeline!r}", where="--pipeline", hint=f"there are: {', '.join(pipelines)}"
            )
        catalog, now = service.catalog, service.runtime.clock()
        data = read_window(settings, catalog, service.runtime.stores.log, now=now)
        rows = np.arange(catalog.size("user"), dtype=np.int32)
        user = rows[catalog.present("user", rows)]
        seed = ops.mix(user.astype(np.uint64) + np.uint64(now))
        slate = run(pipelines[pipeline], Queries.of(user, history=data.histories(user), time=now, seed=seed), count)
        place = np.arange(len(slate)) - ops.pointers(slate.query, len(user))[:-1][slate.query] + 1
        score = slate.columns["score"].astype(np.float64)
        who, what = catalog.ids("user", user[slate.query]), catalog.ids("item", slate.item)
        told = [None if np.isnan(each) else each for each in score.tolist()]
        replace(url, list(zip(who, place.tolist(), what, told, strict=True)))
    screen.text(f"{len(slate):,} places of {len(user):,} people: {sql.masked(url)}")
    screen.result(
        "lists", {"written": sql.masked(url), "people": len(user), "places": len(slate), "pipeline": pipeline}
    )
