"""`shortlist evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist evaluate
    shortlist evaluate --split global --against recent
    shortlist evaluate --report html --out evaluation.html
    shortlist evaluate --json > evaluation.json
    """,
    """
    Hide the end of what people did, train on the rest, and see whether the lists find what was hidden: full
    ranking, items a person already had left out, random and popularity beside, 95 % intervals by paired bootstrap
    over people, and a sentence that says what came out.
    """,
)


def evaluate(
    config: Config = HERE,
    split: Annotated[
        Literal["leave-last", "global", "hold-out"] | None,
        typer.Option(help="What is hidden; default: [evaluate] split."),
    ] = None,
    against: Annotated[str, typer.Option(metavar="SYSTEM", help="The baseline of differences.")] = "popular",
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="The pipeline to judge.")] = "home",
    report: Annotated[Literal["html"] | None, typer.Option(help="Write a self-contained page as well.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("evaluation.html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch import steps
    from shortlist.batch.train import read_window
    from shortlist.config import load
    from shortlist.errors import NotFound
    from shortlist.eval import ratings
    from shortlist.eval.report import html

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    if pipeline not in settings.pipelines:
        raise NotFound(f"no pipeline {pipeline!r}; there are: {', '.join(settings.pipelines)}", where="--pipeline")
    with steps.open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        judged = steps.judge(
            settings,
            data,
            stores,
            how=split or "",
            against=against,
            pipelines=(pipeline,),
            progress=screen.fitted,
        )
    result = judged.result
    header, *lines = result.table(_shown(result.metrics))
    screen.table(header, lines)
    for sentence in result.verdict():
        screen.text(f"\n{sentence}")
    if judged.errors:
        header, *lines = ratings.table(judged.errors)
        screen.table(header, lines)
    found = result.as_json()
    found["ratings"] = {
        name: {error: each._asdict() for error, each in both.items()} for name, both in judged.errors.items()
    }
    if report:
        out.write_text(html(result, f"Evaluation of {pipeline}", judged.errors), "utf-8")
        screen.say(f"\nreport written: {out}")
        found["report"] = str(out)
    screen.result("evaluate", found)
    screen.next("shortlist publish")


def _shown(metrics: list[str]) -> list[str]:
    """The figures that fit on a screen; the report and --json hold all of them."""
    largest = metrics[-1].split("@")[-1]
    wanted = (f"recall@{largest}", f"hit@{largest}", f"coverage@{largest}", f"novelty@{largest}")
    return [name for name in wanted if name in metrics]
