"""`shortlist tune`."""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.eval.search import Searched, Tried

HELP = described(
    """
    shortlist tune
    shortlist tune als ease --trials 60 --minutes 20
    shortlist tune ease --search reg=50,100,200,400 --search half_life
    shortlist tune --pipeline home --report html --out tune.html
    """,
    """
    Search the parameters of models (default: all that pipelines use) or the numbers of a pipeline with Optuna, on the
    validation part of the data; the test part is not read. What falls behind is given up early by successive halving:
    fewer people asked, or fewer epochs. Prints lines for shortlist.toml.

    What was tried is kept in shortlist-data/searches.sqlite: the same command goes on where it ended, a larger --trials
    goes further, and other data, values or parameters are another search. Needs pip install 'shortlist[tune]'.
    """,
)


def tune(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Names under [train.models].")
    ] = None,
    config: Config = HERE,
    pipeline: Annotated[str, typer.Option(metavar="NAME", help="Search this pipeline instead of models.")] = "",
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=V1,V2,...]", help="Only this parameter, of these values; may be repeated."),
    ] = None,
    metric: Annotated[
        str, typer.Option(metavar="NAME@K", help="ndcg, recall, hit, mrr, map or precision.")
    ] = "ndcg@10",
    split: Annotated[
        Literal["leave-last", "global", "hold-out"] | None,
        typer.Option(help="Whose validation part; default: [evaluate] split."),
    ] = None,
    trials: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Settings of each, old ones counted.")
    ] = 30,
    minutes: Annotated[float, typer.Option(metavar="M", min=0, help="For all together; 0 = no limit.")] = 30,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on where the same search ended, or forget that.")
    ] = True,
    report: Annotated[Literal["html"] | None, typer.Option(help="Write a self-contained page as well.")] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")] = Path("tune.html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.batch import steps
    from shortlist.batch.targets import Ground, target_of
    from shortlist.batch.train import models_named, read_window
    from shortlist.batch.tune import grid_of, library, metric_of
    from shortlist.batch.tune import tune as searched
    from shortlist.cli.failures import Usage
    from shortlist.config import load
    from shortlist.errors import NotFound
    from shortlist.eval.search_report import html

    begin = monotonic()
    screen = Screen(json=json, quiet=quiet)
    library()
    metric_of(metric)
    if models and pipeline:
        raise Usage("models and a pipeline are not searched together", where="--pipeline", hint="one after the other")
    settings = load(config)
    used = models_named(list(settings.pipelines.values()))
    names = list(dict.fromkeys(models or [each for each in settings.train.models if each in used]))
    if not (names or pipeline):
        raise NotFound("no pipeline uses a model of [train.models]", where="shortlist tune", hint="--pipeline NAME")
    if search and not pipeline and len(names) != 1:
        raise Usage(
            "--search is about one model or pipeline", where="--search", hint="shortlist tune MODEL --search ..."
        )
    with steps.open_configured(settings, read_only=True) as stores:
        roles = steps.by_role(stores)
        if pipeline:
            targets = [target_of(settings, roles, pipeline=pipeline)]
        else:
            targets = [target_of(settings, roles, model=name) for name in names]
        grids = [grid_of(target, search or ()) for target in targets]
        ground = Ground.of(settings, read_window(settings, stores.catalog, stores.log), how=split or "", metric=metric)
        screen.say(
            f"validation part of {ground.split}: n = {len(ground.asked):,}, learned from {len(ground.train):,} events"
        )
        found: list[Searched] = []
        try:
            for place, (target, grid) in enumerate(zip(targets, grids, strict=True)):
                left = begin + minutes * 60 - monotonic() if minutes else float("inf")
                teller = _Teller(screen, target.where, trials)
                found.append(
                    searched(
                        target,
                        ground,
                        grid,
                        path=settings.searches_path,
                        seed=settings.train.seed,
                        trials=trials,
                        stop=monotonic() + left / (len(targets) - place),
                        fresh=not resume,
                        begun=teller.begun,
                        told=teller.told,
                    )
                )
        except KeyboardInterrupt:
            screen.say("stopped; what was tried is kept, the same command goes on")
            raise
    for each in found:
        _show(screen, each)
    result = {"searches": [each.as_json() for each in found], "kept": str(settings.searches_path)}
    if report:
        out.write_text(html(found), "utf-8")
        screen.say(f"\nreport written: {out}")
        result["report"] = str(out)
    screen.result("tune", result)
    if any(each.toml for each in found):
        screen.next("put the lines into shortlist.toml, then: shortlist evaluate")


class _Teller:
    """A line for each setting as it is done: how it differs from what is configured, and whether it is the best."""

    def __init__(self, screen: Screen, name: str, trials: int) -> None:
        self._screen, self._name, self._trials = screen, name, trials
        self._known: list[Tried] = []

    def begun(self, known: "Sequence[Tried]") -> None:
        self._known = list(known)
        self._screen.say(f"{self._name}: {f'{len(known)} settings known already' if known else 'a new search'}")

    def told(self, tried: "Tried") -> None:
        from shortlist.eval.result import number
        from shortlist.eval.search import shown

        self._known.append(tried)
        best = max((each for each in self._known if each.state == "whole"), key=lambda each: each.value)
        outcome = {
            "whole": number(tried.value) + (", the best" if tried is best else ""),
            "early": f"{number(tried.value)}, given up at {tried.share:.0%}",
            "failed": f"failed: {tried.note}",
        }[tried.state]
        before = self._known[0].params
        changed = [f"{name} {shown(value)}" for name, value in tried.params.items() if value != before[name]]
        place = f"{len(self._known)}/{self._trials}"
        self._screen.step(f"{place} {', '.join(changed) or 'as configured'}: {outcome}", tried.seconds)


def _show(screen: Screen, found: "Searched") -> None:
    screen.text(f"\n{found.verdict()}")
    header, *lines = found.params()
    screen.table(header[:-1], [line[:-1] for line in lines])
    if found.toml:
        screen.text(f"\n{found.toml.rstrip()}")
    screen.say(f"\n{found.caveat()}")
