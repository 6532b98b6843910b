"""`shortlist why`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.options import HERE, Config, Count, Facts, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.serve.why import Explanation, Origin

HELP = described(
    """
    shortlist why 42 50
    shortlist why 42 50 --scenario similar --context 181
    shortlist why 42 50 -n 100 --where "year >= 1990" --json
    """,
    """
    What happened to one item on the way to one person's list: shown, and for which reasons; or where it was lost, at
    which stage, by which rule, by how much. Stage by stage, and works beside a running server.
    """,
)


def why(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id as it was ingested.")],
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The id as it was ingested.")],
    scenario: Annotated[str, typer.Option("--scenario", metavar="NAME", help="Which pipeline answers.")] = "home",
    count: Count = 10,
    context: Annotated[str, typer.Option(metavar="ITEM", help="The item in view.")] = "",
    where: Annotated[str, typer.Option(metavar="CONDITION", help="A condition on item columns.")] = "",
    at: Annotated[str, typer.Option(metavar="TIME", help="With the history up to then (ISO 8601, UTC).")] = "",
    fact: Facts = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from msgspec import to_builtins

    from shortlist.cli.answers import asked, facts
    from shortlist.config import load
    from shortlist.serve.why import ExplainRequest, explain

    screen = Screen(json=json, quiet=quiet)
    ask = ExplainRequest(
        item_id=item,
        user_id=user,
        scenario=scenario,
        n=count,
        context=[context] if context else [],
        filter=where,
        facts=facts(fact),
    )
    with asked(load(config), at) as service:
        told = explain(service, ask, "command-line")
    screen.text("\n".join(tree(told)))
    for note in told.notes:
        screen.say(note)
    screen.result("why", to_builtins(told))
    screen.next(f"shortlist recommend {user} --pipeline {scenario}")


def tree(told: Explanation) -> list[str]:
    """The explanation, a branch for each stage."""
    branches = [
        ("filters", [f"{'✓' if rule.passed else '✗'} {rule.name}: {rule.text}" for rule in told.rules]),
        ("sources" + ("" if not told.otherwise else ", if it were let through"), _sources(told.sources)),
        ("coarse rank", _coarse(told)),
        ("rank", _rank(told)),
        ("rules", [f"{move.name}: {move.text}" for move in told.moves]),
    ]
    lines = [f"{told.item_id} {told.title or ''}".rstrip(), told.text, *([told.otherwise] if told.otherwise else [])]
    grown = [branch for branch in branches if branch[1]]
    for name, leaves in grown:
        last = name == grown[-1][0]
        lines.append(f"{'└' if last else '├'}─ {name}")
        lines += [f"{' ' if last else '│'}  {'└' if leaf == leaves[-1] else '├'}─ {leaf}" for leaf in leaves]
    return lines


def _sources(origins: list[Origin]) -> list[str]:
    leaves = []
    for each in origins:
        numbers = [f"score {each.score:.4g}"] if each.score is not None else []
        if each.rank is not None and not each.proposed and each.last_score is not None:
            numbers.append(f"the last it proposed has {each.last_score:.4g}")
        also = [f"{liking.title or liking.item_id} ({liking.part:+.3g})" for liking in each.because if liking.part]
        numbers += [f"from {', '.join(also)}"] if also else []
        leaves.append(f"{'✓' if each.proposed else '✗'} {each.name}: {each.text}" + "".join(f"; {n}" for n in numbers))
    return leaves


def _coarse(told: Explanation) -> list[str]:
    cut = told.coarse
    if cut is None:
        return []
    score = "none" if cut.score is None else f"{cut.score:.4g}"
    last = "" if cut.last_kept is None else f"; the last that goes on has {cut.last_kept:.4g}"
    return [f"{'✓' if cut.passed else '✗'} {cut.name}: {cut.text}; score {score}{last}"]


def _rank(told: Explanation) -> list[str]:
    rank = told.rank
    if rank is None:
        return []
    score = "none" if rank.score is None else f"{rank.score:.4g}"
    last = "" if rank.last_shown is None else f"; the last shown has {rank.last_shown:.4g}"
    enough = "on no page" if rank.enough is None else f"on a page of {rank.enough} or more"
    parts = [
        f"{each.part:+.4g} {each.name} ({each.value:.4g} · {each.weight:.4g}): {each.text}"
        for each in rank.parts
        if each.part
    ]
    return [f"{rank.text}: {score}{last}", *parts, enough]
