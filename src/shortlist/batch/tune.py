"""Search the parameters of a model or a pipeline, go on where the last search of the same things ended."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from shortlist import __version__
from shortlist.batch.targets import STEPS, Ground, Target
from shortlist.config import check_keys, convert
from shortlist.errors import ConfigError
from shortlist.eval.bootstrap import Interval, intervals
from shortlist.eval.metrics import RANKING
from shortlist.eval.result import number
from shortlist.eval.search import Searched, Tried

DEEPEST = 1000  # places of a list


def metric_of(text: str) -> str:
    """`text` if it is a metric; ConfigError."""
    name, _, k = text.partition("@")
    if name not in RANKING or not (k.isdecimal() and 1 <= int(k) <= DEEPEST and str(int(k)) == k):
        raise ConfigError(
            f"{text!r} is not a metric",
            where="--metric",
            hint=f"one of {', '.join(RANKING)}, @ and a length of list from 1 to {DEEPEST}, such as ndcg@10",
        )
    return text


def grid_of(target: Target, asked: Sequence[str] = ()) -> dict[str, tuple[Any, ...]]:
    """The values to try of each parameter, in order, what is configured among them.

    `asked` names parameters, each alone (its usual values) or as NAME=V1,V2; without any, all with usual values.
    """
    given = dict(map(_named, asked)) or dict.fromkeys(target.space)
    if not given:
        raise ConfigError(
            f"nothing is known of what to try; its parameters: {', '.join(target.knobs) or 'none'}",
            where=target.where,
            hint="name values: --search NAME=V1,V2",
        )
    check_keys(given, list(target.knobs), target.where, "--search")
    grid: dict[str, tuple[Any, ...]] = {}
    for name, values in given.items():
        hint, now = target.knobs[name]
        if values is None and name not in target.space:
            raise ConfigError("has no usual values", where=f"--search {name}", hint=f"--search {name}=V1,V2")
        usual = target.space.get(name, ()) if values is None else values
        typed = [convert(hint, each, f"--search {name}") for each in usual]
        for each in typed if values is not None else ():
            target.check({name: each})
        distinct = list(dict.fromkeys([*typed, now]))
        numbers = all(isinstance(each, int | float) and not isinstance(each, bool) for each in distinct)
        grid[name] = tuple(sorted(distinct) if numbers else distinct)
    return grid


def tune(
    target: Target,
    ground: Ground,
    grid: Mapping[str, Sequence[Any]],
    *,
    path: Path,
    seed: int,
    trials: int,
    stop: float,
    fresh: bool = False,
    begun: Callable[[Sequence[Tried]], None] = lambda known: None,
    told: Callable[[Tried], None] = lambda tried: None,
) -> Searched:
    """Search `grid` until there are `trials` settings or it is `stop` (monotonic seconds).

    `path` is the file that keeps what was tried; a search of other data or values is another one. `begun` is told the
    settings that are known already, `told` every new one.
    """
    start = {name: values.index(target.knobs[name].now) for name, values in grid.items()}
    facts = (target.where, target.facts, sorted(grid.items()), ground.metric, ground.split, seed, __version__)
    name = f"{target.where} {hashlib.sha256(repr((facts, ground.digest)).encode()).hexdigest()[:16]}"
    least = ground.ladder[0][0] if target.resource == "people" else STEPS[0]
    with library().opened(path, name, grid, start, seed=seed, least=least, fresh=fresh) as study:
        begun(study.tried)
        if len(study.tried) < min(trials, study.size):
            study.run(target.on(ground), trials, stop, told)
        found = Searched(
            name=target.where,
            metric=ground.metric,
            split=ground.split,
            people=len(ground.asked),
            resource=target.resource,
            grid=grid,
            tried=study.tried,
            importance=study.importance(),
            difference=Interval(0.0, 0.0, 0.0, len(ground.asked)),
            toml="",
            ended=_ended(len(study.tried), trials, study.size),
        )
        if found.best is found.configured:
            return found
        gap = study.values(found.best.number) - study.values(found.configured.number)
    changed = {name: each for name, each in found.best.params.items() if each != found.configured.params[name]}
    said = (
        f"# {found.metric} {number(found.best.value)} ({number(found.configured.value)} before) on validation, "
        f"{found.split}, n = {found.people:,}, best of {len(found.tried)} settings"
    )
    return replace(
        found,
        difference=intervals({"gap": gap}, seed=seed)["gap"],
        toml=f"{said}\n{target.paste(changed)}\n",
    )


def library() -> ModuleType:
    """The file that knows Optuna; ConfigError when that is not installed."""
    try:
        from shortlist.batch import optuna
    except ImportError as error:
        raise ConfigError(
            f"settings are searched with Optuna, which cannot be loaded ({error})",
            where="shortlist tune",
            hint="pip install 'shortlist[tune]'",
        ) from error
    return optuna


def _ended(tried: int, trials: int, size: int) -> str:
    if tried >= size:
        return "all settings were tried"
    return "as many settings as wanted were tried" if tried >= trials else "time was up"


def _named(text: str) -> tuple[str, list[Any] | None]:
    name, equals, values = text.partition("=")
    return name.strip(), [_value(each.strip()) for each in values.split(",")] if equals else None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
