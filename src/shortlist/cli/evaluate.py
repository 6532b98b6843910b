"""`shortlist evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.config import Settings
    from shortlist.dataset import Dataset
    from shortlist.stores import Stores

HELP = described(
    """
    shortlist evaluate
    shortlist evaluate --split global --against recent
    shortlist evaluate --report html --out evaluation.html
    shortlist evaluate --impressions 1d --pipeline logistic --pipeline deepfm --report html
    shortlist evaluate --json > evaluation.json
    """,
    """
    Hide the end of what people did, train on the rest, and see whether the lists find what was hidden: full
    ranking, items a person already had left out, random and popularity beside, 95 % intervals by paired bootstrap
    over people, and a sentence that says what came out.

    With --impressions: hide the last days of what was shown, learn from the rest, and see what the predicted
    probabilities are worth: AUC, AUC within people (gauc), log-loss, calibration error, and reliability plots on the
    page.
    """,
)


def evaluate(
    config: Config = HERE,
    split: Annotated[
        Literal["leave-last", "global", "hold-out"] | None,
        typer.Option(help="What is hidden; default: [evaluate] split."),
    ] = None,
    against: Annotated[str, typer.Option(metavar="SYSTEM", help="The baseline of differences.")] = "popular",
    pipeline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="To judge, can be given again; default: home, or all that rank impressions."),
    ] = None,
    impressions: Annotated[
        str, typer.Option(metavar="DURATION", help="Judge probabilities of what was shown last, such as 1d.")
    ] = "",
    report: Annotated[Literal["html"] | None, typer.Option(help="Write a self-contained page as well.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("evaluation.html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch import steps
    from shortlist.batch.train import read_window
    from shortlist.config import load
    from shortlist.errors import NotFound

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    names = tuple(pipeline or (() if impressions else ("home",)))
    for name in names:
        if name not in settings.pipelines:
            raise NotFound(f"no pipeline {name!r}; there are: {', '.join(settings.pipelines)}", where="--pipeline")
    with steps.open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        with screen.learning():
            if impressions:
                found, page = _probabilities(screen, settings, data, stores, impressions, names)
            else:
                found, page = _lists(screen, settings, data, stores, split or "", against, names)
    if report:
        out.write_text(page(), "utf-8")
        screen.say(f"\nreport written: {out}")
        found["report"] = str(out)
    screen.result("evaluate", found)
    screen.next("shortlist publish")


def _lists(
    screen: Screen, settings: Settings, data: Dataset, stores: Stores, how: str, against: str, names: tuple[str, ...]
) -> tuple[dict[str, Any], Callable[[], str]]:
    """The figures of lists, said and as plain data, and their page."""
    from shortlist.batch import steps
    from shortlist.eval import ratings
    from shortlist.eval.report import html

    judged = steps.judge(settings, data, stores, how=how, against=against, pipelines=names, progress=screen.fitted)
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
    return found, lambda: html(result, f"Evaluation of {', '.join(names)}", judged.errors)


def _probabilities(
    screen: Screen, settings: Settings, data: Dataset, stores: Stores, window: str, names: tuple[str, ...]
) -> tuple[dict[str, Any], Callable[[], str]]:
    """The figures of predicted probabilities, said and as plain data, and their page."""
    from shortlist.batch import probabilities
    from shortlist.eval import ctr, ctr_report

    said = probabilities.judge(settings, data, stores, window=window, pipelines=names, progress=screen.fitted)
    judged = list(said.probability)
    found = ctr.measured(said.probability, said.label, said.user, seed=settings.evaluate.seed)
    reliable = {name: ctr.reliability(each, said.label) for name, each in said.probability.items()}
    about = (
        f"{len(said.label):,} impressions of the last {window}, {said.label.mean():.2%} of them taken, judged by what "
        f"was learned from the {said.learned:,} before."
    )
    header, *lines = ctr_report.lines(judged, found)
    screen.table(header, lines)
    screen.text(f"\n{about}")
    plain = {
        "impressions": len(said.label),
        "taken": int(said.label.sum()),
        "learned_from": said.learned,
        "window": window,
        "pipelines": ctr_report.as_json(judged, found, reliable),
    }
    title = f"Probabilities of {', '.join(judged)}"
    return plain, lambda: ctr_report.html(title, about, judged, found, reliable)


def _shown(metrics: list[str]) -> list[str]:
    """The figures that fit on a screen; the report and --json hold all of them."""
    largest = metrics[-1].split("@")[-1]
    wanted = (f"recall@{largest}", f"hit@{largest}", f"coverage@{largest}", f"novelty@{largest}")
    return [name for name in wanted if name in metrics]
