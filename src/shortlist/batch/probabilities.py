"""What pipelines say of the impressions of the last days, learned from those before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shortlist.batch.impressions import Read, Shown, replay
from shortlist.batch.steps import by_role
from shortlist.batch.train import Progress, judging, learn_rankers, learners, quiet, train
from shortlist.config import Settings
from shortlist.dataset import Dataset, duration
from shortlist.errors import ConfigError, DataError, NotFound
from shortlist.pipeline import Pipeline
from shortlist.stores import Stores
from shortlist.types import Rows, Scores


@dataclass(frozen=True, slots=True)
class Said:
    """The probability that each pipeline gives each impression, and what came."""

    probability: Mapping[str, Scores]  # (N,) each
    label: Scores  # (N,) 1 = taken
    user: Rows  # (N,)
    learned: int  # impressions before them


def judge(
    settings: Settings,
    data: Dataset,
    stores: Stores,
    *,
    window: str,
    pipelines: Sequence[str] = (),
    progress: Progress = quiet,
) -> Said:
    """Learn `pipelines` (none named = all that rank) from what was before the last `window`, and ask them about it.

    An impression that a pipeline has no opinion of gets the share of those before that were taken. NotFound for a
    pipeline that is not there, ConfigError for one whose scores are no probabilities.
    """
    names = list(pipelines) or [name for name, table in settings.pipelines.items() if table.rank]
    for name in names:
        if name not in settings.pipelines:
            raise NotFound(f"no pipeline {name!r}; there are: {', '.join(settings.pipelines)}", where="--pipeline")
        if not settings.pipelines[name].rank:
            raise ConfigError("ranks by no probability", where=f"pipelines.{name}", hint="give it a rank")
    asked = replace(settings, pipelines={name: judging(settings.pipelines[name]) for name in names})
    if settings.train.validation != "impressions" and (lists := learners(asked, by_role(stores))):
        raise ConfigError(
            f"is {settings.train.validation!r}: what {next(iter(lists))} learns from lists is no judge of impressions",
            where="train.validation",
            hint='validation = "impressions"',
        )
    shown = Shown.of(data)
    time = data.events.time[shown.event]
    start = int(data.events.time[-1]) + 1 - duration(window) if len(data) else 0
    past, later = data.before(start), shown.take(np.flatnonzero(time >= start))
    if not len(later) or len(later) == len(shown):
        raise DataError(
            f"the last {window} hold {len(later):,} of {len(shown):,} impressions: there must be some, and some before",
            where="--impressions",
        )
    usual = float(shown.label[time < start].mean())
    label, user = later.label, data.events.user[later.event]
    said: dict[str, Scores] = {}
    for name in names:  # one after the other: features are told of what comes, so nobody shares them
        alone = replace(settings, pipelines={name: asked.pipelines[name]})
        learned = learn_rankers(alone, past, by_role(stores), progress=progress)
        pipeline = train(alone, past, by_role(stores), learned=learned, progress=progress).pipelines[name]
        said[name] = _said(name, pipeline, replay(pipeline, data, later, start), usual)
    return Said(said, label, user, len(shown) - len(later))


def _said(name: str, pipeline: Pipeline, reads: Iterable[Read], usual: float) -> Scores:
    scorer = pipeline.scorer
    if scorer is None:
        raise DataError(
            "its ranker learned nothing", where=f"pipelines.{name}", hint="load more of what was shown and taken"
        )
    score = np.concatenate([scorer.score(read.queries, read.found) for read in reads])
    if np.nanmin(score, initial=0) < 0 or np.nanmax(score, initial=1) > 1:
        raise ConfigError(
            f"{type(scorer).__name__} gives scores from {np.nanmin(score):g} to {np.nanmax(score):g}, no probabilities",
            where=f"pipelines.{name}.rank",
            hint='let calibration make them: use = "rank.calibrate:Calibrated"',
        )
    return np.where(np.isnan(score), np.float32(usual), score)
