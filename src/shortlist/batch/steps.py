"""The steps of the daily path over open stores: judge a configuration, make a release of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

import shortlist
from shortlist import release
from shortlist.batch.golden import golden
from shortlist.batch.train import Progress, Trained, learn_rankers, quiet, split, train
from shortlist.config import Settings, check_keys
from shortlist.dataset import Dataset
from shortlist.errors import DataError
from shortlist.eval import ratings
from shortlist.eval.baselines import System
from shortlist.eval.bootstrap import Interval
from shortlist.eval.offline import evaluate
from shortlist.eval.protocol import Split
from shortlist.eval.result import Result
from shortlist.pipeline import Pipeline
from shortlist.protocols import Scorer
from shortlist.stores import ROLES, Stores, open_stores
from shortlist.types import Candidates, Queries


@dataclass(frozen=True)
class Rehearsal:
    """What a configuration learns when the end of the data is hidden from it."""

    held: Split
    learned: Mapping[str, Scorer]
    trained: Trained  # on held.final


@dataclass(frozen=True)
class Judged:
    """What an evaluation found, and the rehearsal that it judged."""

    result: Result
    rehearsal: Rehearsal
    errors: Mapping[
        str, Mapping[str, Interval]
    ]  # of predicted ratings, see eval.ratings; empty when none are asked for


def open_configured(settings: Settings, *, read_only: bool = False) -> Stores:
    """The four stores that `settings` names."""
    return open_stores({role: settings.store_url(role) for role in ROLES}, read_only=read_only)


def by_role(stores: Stores) -> dict[str, object]:
    """The stores as the loader of components wants them."""
    return {role: getattr(stores, role) for role in ROLES}


def rehearse(
    settings: Settings,
    data: Dataset,
    stores: Stores,
    *,
    pipelines: Sequence[str],
    how: str = "",
    also: Sequence[str] = (),
    progress: Progress = quiet,
) -> Rehearsal:
    """Fit `pipelines` on the past of `data`, its end hidden. DataError when there is too little to hide any.

    Rankers are learned for every pipeline: a release needs them all.
    """
    held = split(data, how or settings.evaluate.split, "evaluate.split")
    learned = learn_rankers(settings, held.final, by_role(stores), progress=_naming("to rank", progress))
    wanted = replace(settings, pipelines={name: settings.pipelines[name] for name in pipelines})
    trained = train(wanted, held.final, by_role(stores), learned=learned, also=also, progress=_naming("past", progress))
    return Rehearsal(held, learned, trained)


def judge(
    settings: Settings,
    data: Dataset,
    stores: Stores,
    *,
    how: str = "",
    against: str = "popular",
    pipelines: tuple[str, ...] = ("home",),
    progress: Progress = quiet,
) -> Judged:
    """Fit on the past of `data`, ask about its end, compare with popularity and chance."""
    also = settings.evaluate.ratings
    check_keys(dict.fromkeys(also), list(settings.train.models), "train.models", "evaluate.ratings")
    rehearsal = rehearse(settings, data, stores, pipelines=pipelines, how=how, also=also, progress=progress)
    held, trained = rehearsal.held, rehearsal.trained
    result = evaluate(
        {name: system(trained.pipelines[name]) for name in pipelines},
        held,
        against=against,
        ks=settings.evaluate.k,
        resamples=settings.evaluate.resamples,
        seed=settings.evaluate.seed,
    )
    return Judged(result, rehearsal, _errors(settings, data, held, {name: trained.models[name] for name in also}))


def _errors(
    settings: Settings, data: Dataset, held: Split, models: Mapping[str, Scorer]
) -> Mapping[str, Mapping[str, Interval]]:
    given, hidden = held.final.ratings.data, ratings.answers(data, held.test)
    if not (models and len(given) and len(hidden)):
        return {}
    scale = float(given.min()), float(given.max())
    resamples, seed = settings.evaluate.resamples, settings.evaluate.seed
    return ratings.rating_errors(models, held.final, hidden, scale=scale, resamples=resamples, seed=seed)


def make_release(
    settings: Settings,
    data: Dataset,
    stores: Stores,
    *,
    created: datetime,
    rehearsal: Rehearsal | None = None,
    progress: Progress = quiet,
) -> tuple[str, Mapping[str, Any]]:
    """Train on all of `data` and write a release; its version and the facts recorded with it. Nothing serves it yet.

    With it goes what the gate needs: golden lists, and the judged pipeline of `rehearsal`, made here when not given.
    """
    name = judged_pipeline(settings.pipelines)
    if rehearsal is None:
        try:
            rehearsal = rehearse(settings, data, stores, pipelines=(name,), progress=progress)
        except DataError:  # too little to hide any of it: the gate will say that quality was not compared
            learned = learn_rankers(settings, data, by_role(stores), progress=_naming("to rank", progress))
    if rehearsal is not None:
        learned = dict(rehearsal.learned)
    trained = train(settings, data, by_role(stores), learned=learned, progress=_naming("all", progress))
    facts = _facts(data, trained, created)
    facts["catalog"] = release.fingerprint(stores.catalog)
    facts["tables"] = msgspec.to_builtins(settings.pipelines)  # what was made from which table, see scenarios
    parts: dict[str, object] = {"golden": golden(trained.pipelines, data, seed=settings.train.seed)}
    if rehearsal is not None:
        parts["rehearsal"] = {name: rehearsal.trained.pipelines[name]}
    return release.save(settings.releases_path, trained.pipelines, facts, parts=parts), facts


def judged_pipeline(names: Iterable[str]) -> str:
    """The pipeline whose quality decides: home, or the first there is."""
    return "home" if "home" in names else min(names)


def system(pipeline: Pipeline) -> System:
    """A pipeline as the evaluation asks it."""

    def answer(queries: Queries, k: int) -> Candidates:
        return pipeline.recommend(queries, k)[0]

    return answer


def _naming(part: str, progress: Progress) -> Progress:
    """What is fitted twice, said apart: on the past so that rankers can learn, on all that there is."""
    return lambda what, seconds: progress(f"{part}: {what}", seconds)


def _facts(data: Dataset, trained: Trained, created: datetime) -> dict[str, Any]:
    time = data.events.time
    return {
        "created": created.isoformat(timespec="seconds"),
        "shortlist": shortlist.__version__,
        "events": len(data),
        "users": data.n_users,
        "items": data.n_items,
        "first_event": int(time[0]) if len(data) else None,
        "last_event": int(time[-1]) if len(data) else None,
        "offset": data.offset,
        "pipelines": sorted(trained.pipelines),
        "seconds": {name: round(seconds, 3) for name, seconds in trained.seconds.items()},
    }
