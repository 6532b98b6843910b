"""`shortlist lists`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.options import HERE, Config, Count, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.serve.service import Service

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
    from shortlist.cli.answers import asked
    from shortlist.config import load
    from shortlist.data import sql

    screen, settings = Screen(json=json, quiet=quiet), load(config)
    url = sql.located(table, settings.home) if table.startswith("sqlite:///") else table
    with asked(settings) as service:
        people, places = write(service, url, pipeline, count)
    screen.text(f"{places:,} places of {people:,} people: {sql.masked(url)}")
    screen.result("lists", {"written": sql.masked(url), "people": people, "places": places, "pipeline": pipeline})


def write(service: Service, url: str, pipeline: str, count: int) -> tuple[int, int]:
    """Everybody's `count` best by `pipeline` into the table that `url` names: how many people, how many places."""
    import numpy as np

    from shortlist import ops
    from shortlist.batch.train import read_window, run
    from shortlist.cli.failures import Usage
    from shortlist.data.sql_lists import replace
    from shortlist.types import Queries

    pipelines = service.runtime.release.pipelines
    if pipeline not in pipelines:
        raise Usage(f"there is no pipeline {pipeline!r}", where="--pipeline", hint=f"there are: {', '.join(pipelines)}")
    catalog, now = service.catalog, service.runtime.clock()
    data = read_window(service.runtime.settings, catalog, service.runtime.stores.log, now=now)
    rows = np.arange(catalog.size("user"), dtype=np.int32)
    user = rows[catalog.present("user", rows)]
    seed = ops.mix(user.astype(np.uint64) + np.uint64(now))
    slate = run(pipelines[pipeline], Queries.of(user, history=data.histories(user), time=now, seed=seed), count)
    place = np.arange(len(slate)) - ops.pointers(slate.query, len(user))[:-1][slate.query] + 1
    score = slate.columns["score"].astype(np.float64)
    who, what = catalog.ids("user", user[slate.query]), catalog.ids("item", slate.item)
    told = [None if np.isnan(each) else each for each in score.tolist()]
    replace(url, list(zip(who, place.tolist(), what, told, strict=True)))
    return len(user), len(slate)
