"""`shortlist predict`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen
from shortlist.errors import NotFound

if TYPE_CHECKING:
    from shortlist.serve.service import Service

HELP = described(
    """
    shortlist predict 42 "Toy Story" "Fargo"
    shortlist predict 42 50 127 --json
    shortlist predict 42 "Toy Story" --pipeline home
    shortlist predict 42 "Toy Story" "Fargo" --from sqlite:///movies.db --into recommendations
    """,
    """
    What a pipeline says of items that are named, by title or id, for one person: their predicted ratings, best first,
    where its `rank` is a model of ratings. Works beside a running server.

    With --from everything before it is done, too: the blueprint movies is written for that database (SQLite, MariaDB or
    PostgreSQL with the tables users, movies and ratings), the tables are loaded, every model is judged on what was
    hidden from it, trained and published; with --into everybody's lists go back into the database.
    """,
)
NEAR = 3  # titles that are offered in place of one that nothing has


def predict(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id as it was ingested.")],
    titles: Annotated[list[str], typer.Argument(metavar="TITLE", help="Titles or ids of items.")],
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="Which pipeline judges.")] = "predict",
    source: Annotated[str, typer.Option("--from", metavar="URL", help="A SQL database to begin with.")] = "",
    into: Annotated[str, typer.Option(metavar="TABLE", help="Where lists go in the database of --from.")] = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from msgspec import to_builtins

    from shortlist.cli.answers import asked
    from shortlist.cli.database import from_database
    from shortlist.cli.failures import Usage
    from shortlist.config import load
    from shortlist.serve.ranking import RankRequest, rank

    screen = Screen(json=json, quiet=quiet)
    if into and not source:
        raise Usage("--into names a table of the database of --from", hint="shortlist lists URL#TABLE writes to any")
    if into and not into.isidentifier():
        raise Usage(f"--into {into!r} is not the name of a table", hint="letters, digits and _")
    done = from_database(screen, source, config, into) if source else {}
    with asked(load(config)) as service:
        named = _named(service, titles)
        answer = rank(service, RankRequest(user_id=user, scenario=pipeline, items=list(named)), "command-line")
        if service.catalog.rows("user", [user])[0] < 0:
            screen.say(f"{user!r} is unknown: this is what a newcomer gets")
        screen.table(
            ("item", "title", "score"),
            [(each.id, named[each.id], "–" if each.score is None else each.score) for each in answer.items],
        )
        for removed in answer.removed:
            screen.say(f"{removed.id} ({named[removed.id]}): {removed.text}")
        screen.result("predict", {**to_builtins(answer), "titles": named, **done})


def _named(service: Service, wanted: Sequence[str]) -> dict[str, str]:
    """The id and title of each item that is meant; NotFound with the nearest titles for the first that is not there."""
    import difflib

    import numpy as np

    catalog, column = service.catalog, service.runtime.settings.serve.titles
    rows = np.arange(catalog.size("item"), dtype=np.int32)
    known = catalog.read("item", rows, [column])[column].tolist() if column in catalog.names("item") else []
    by_title: dict[str, list[int]] = {}
    for row, title in enumerate(known):
        by_title.setdefault(str(title).casefold(), []).append(row)
    named: dict[str, str] = {}
    for each, row in zip(wanted, catalog.rows("item", wanted).tolist(), strict=True):
        meant = by_title.get(each.casefold(), [row] if row >= 0 else [])
        if not meant:
            near = difflib.get_close_matches(each.casefold(), [title for title in by_title if title], NEAR, 0.4)
            titles = [repr(known[by_title[title][0]]) for title in near]
            raise NotFound(
                f"nothing is called {each!r}",
                where="TITLE",
                hint=f"did you mean {', '.join(titles)}?" if titles else "give a title or an id of the catalogue",
            )
        ids = catalog.ids("item", np.array(meant, np.int32))
        named.update((id, str(known[at]) if known else "") for id, at in zip(ids, meant, strict=True))
    return named
