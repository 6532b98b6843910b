"""The steps of the daily path over open stores: judge a configuration, make a release of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import shortlist
from shortlist import release
from shortlist.batch.train import Progress, Trained, learn_rankers, quiet, split, train
from shortlist.config import Settings, check_keys
from shortlist.dataset import Dataset
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
class Judged:
    """What an evaluation found, and the rankers it learned on the way."""

    result: Result
    learned: Mapping[str, Scorer]
    errors: Mapping[
        str, Mapping[str, Interval]
    ]  # of predicted ratings, see eval.ratings; empty when none are asked for


def open_configured(settings: Settings, *, read_only: bool = False) -> Stores:
    """The four stores that `settings` names."""
    return open_stores({role: settings.store_url(role) for role in ROLES}, read_only=read_only)


def by_role(stores: Stores) -> dict[str, object]:
    """The stores as the loader of components wants them."""
    return {role: getattr(stores, role) for role in ROLES}


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
    held = split(data, how or settings.evaluate.split, "evaluate.split")
    past, also = held.final, settings.evaluate.ratings
    check_keys(dict.fromkeys(also), list(settings.train.models), "train.models", "evaluate.ratings")
    learned = learn_rankers(settings, past, by_role(stores), progress=_naming("to rank", progress))
    trained = train(settings, past, by_role(stores), learned=learned, also=also, progress=_naming("past", progress))
    chosen = {name: _system(trained.pipelines[name]) for name in pipelines}
    result = evaluate(
        chosen,
        held,
        against=against,
        ks=settings.evaluate.k,
        resamples=settings.evaluate.resamples,
        seed=settings.evaluate.seed,
    )
    return Judged(result, learned, _errors(settings, data, held, {name: trained.models[name] for name in also}))


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
    learned: Mapping[str, Scorer] | None = None,
    progress: Progress = quiet,
) -> tuple[str, Mapping[str, Any]]:
    """Train on all of `data` and write a release; its version and the facts recorded with it. Nothing serves it yet."""
    if learned is None:
        learned = learn_rankers(settings, data, by_role(stores), progress=_naming("to rank", progress))
    trained = train(settings, data, by_role(stores), learned=learned, progress=_naming("all", progress))
    facts = _facts(data, trained, created)
    return release.save(settings.releases_path, trained.pipelines, facts), facts


def _naming(part: str, progress: Progress) -> Progress:
    """What is fitted twice, said apart: on the past so that rankers can learn, on all that there is."""
    return lambda what, seconds: progress(f"{part}: {what}", seconds)


def _system(pipeline: Pipeline) -> System:
    def answer(queries: Queries, k: int) -> Candidates:
        return pipeline.recommend(queries, k)[0]

    return answer


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
        "pipelines": sorted(trained.pipelines),
        "seconds": {name: round(seconds, 3) for name, seconds in trained.seconds.items()},
    }
