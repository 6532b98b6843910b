"""From the log to trained pipelines: let rankers learn from held-out people, then fit everything on all there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from time import perf_counter
from typing import Any

import numpy as np

from shortlist.batch import impressions, lessons
from shortlist.config import Builder, CoarseTable, PipelineTable, Settings, Train
from shortlist.dataset import Dataset, duration
from shortlist.errors import ConfigError, DataError
from shortlist.eval.protocol import Part, Split, global_time, hold_out, leave_last, newest
from shortlist.pipeline import Coarse, Pipeline, Recall
from shortlist.progress import learning
from shortlist.protocols import Catalog, EventLog, Feature, Filter, Ranker, Recipe, Reranker, Scorer, Source
from shortlist.types import Candidates, Events, Queries, Rows, Scores

Progress = Callable[[str, float], None]  # (what was done, seconds it took)
BLOCK = 1024  # queries answered at once
ASKED = 20_000  # held-out people a ranker learns from at most: bounds memory, costs no quality


def quiet(what: str, seconds: float) -> None:
    """A Progress that says nothing."""


@dataclass
class Trained:
    """Models and pipelines of one training, with what they cost."""

    models: dict[str, Any]
    pipelines: dict[str, Pipeline]
    seconds: dict[str, float] = field(default_factory=dict)  # by what was fitted


def read_window(settings: Settings, catalog: Catalog, log: EventLog, *, now: int | None = None) -> Dataset:
    """Everything in the log (or the last `train.window` of it) with all catalog facts."""
    batches = list(log.scan())
    events = Events.concat([batch for _, batch in batches])
    users, items = catalog.size("user"), catalog.size("item")
    if not len(events) and not items:
        raise DataError(
            "there is nothing to learn from: no events and no items",
            where=settings.store_url("log"),
            hint="load some with: shortlist ingest EVENTS.csv",
        )
    facts = {
        entity: dict(catalog.read(entity, np.arange(size, dtype=np.int32), catalog.names(entity)))
        for entity, size in (("user", users), ("item", items))
    }
    data = Dataset.of(events, users, items, kinds=settings.kinds, users=facts["user"], items=facts["item"], now=now)
    data = replace(data, offset=batches[-1][0] if batches else "")
    if settings.train.window:
        data = data.only(data.events.time >= data.now - duration(settings.train.window))
    return data


def split(data: Dataset, how: str, where: str) -> Split:
    """`data` cut by the protocol that `how` names."""
    if how == "leave-last":
        return leave_last(data)
    if how == "global":
        return global_time(data)
    if how == "hold-out":
        return hold_out(data)
    raise ConfigError(f"is {how!r}", where=where, hint="choose one of: leave-last, global, hold-out")


def train(
    settings: Settings,
    data: Dataset,
    stores: Mapping[str, object],
    *,
    progress: Progress = quiet,
    learned: Mapping[str, Scorer] | None = None,
    also: Sequence[str] = (),
) -> Trained:
    """Fit every model and pipeline of `settings` on `data`.

    Rankers learn first, from events that were held out of everything fitted before; then all else is fitted on the
    whole of `data`. `learned` gives scorers by pipeline that were learned elsewhere, and skips the first part.
    `also` names models under [train.models] to fit although no pipeline uses them.
    """
    if learned is None:
        learned = learn_rankers(settings, data, stores, progress=progress)
    return _fit(settings, data, stores, dict(learned), progress, also)


def learn_rankers(
    settings: Settings, data: Dataset, stores: Mapping[str, object], *, progress: Progress = quiet
) -> dict[str, Scorer]:
    """A scorer for each pipeline whose `rank` learns from candidates, and as NAME.coarse for each whose coarse ranker
    does; empty when nobody can be held out."""
    rankers = learners(settings, stores)
    if not rankers:
        return {}
    if settings.train.validation == "impressions":
        return _learned_from_impressions(settings, data, stores, rankers, progress)
    held = hidden(settings, data)
    if held is None:
        return {}
    past, part = held
    wanted = {name: settings.pipelines[name] for name in rankers}
    fitted = _fit(replace(settings, pipelines=wanted), past, stores, {}, progress)
    learned: dict[str, Scorer] = {}
    for name, stages in rankers.items():
        learned |= learn_pipeline(name, stages, fitted.pipelines[name], part, settings.train, progress=progress)
    return learned


def _learned_from_impressions(
    settings: Settings,
    data: Dataset,
    stores: Mapping[str, object],
    rankers: Mapping[str, Mapping[str, Ranker]],
    progress: Progress,
) -> dict[str, Scorer]:
    """The same, from what was shown, taken or not: nobody proposes it again, so columns of sources are not read."""
    past, shown = impressions.cut(data, settings.train.impressions)
    tables: dict[str, PipelineTable] = {}
    judges: dict[str, Ranker] = {}
    for name, stages in rankers.items():
        table = settings.pipelines[name]
        if "coarse" in stages:
            tables[coarse_of(name)] = PipelineTable(features=table.coarse.features, rank=table.coarse.rank)
            judges[coarse_of(name)] = stages["coarse"]
        if "fine" in stages:
            tables[name], judges[name] = judging(table), stages["fine"]
    weight = shown.weights(data, settings.train.position) if settings.train.position else None
    learned: dict[str, Scorer] = {}
    for name, ranker in judges.items():
        alone = replace(settings, pipelines={name: tables[name]})  # features of its own: they are told of what comes
        fitted, start = _fit(alone, past, stores, {}, progress), perf_counter()
        found, label = impressions.labelled(fitted.pipelines[name], data, shown)
        with learning(f"ranker of {name}"):
            learned[name] = ranker.learn(found, label, seed=settings.train.seed, weight=weight)
        told = f"ranker of {name}: {int(label.sum()):,} of {len(label):,} impressions taken"
        progress(told, perf_counter() - start)
    return learned


def learners(settings: Settings, stores: Mapping[str, object]) -> dict[str, dict[str, Ranker]]:
    """What of each pipeline learns from candidates, by stage; pipelines without are left out."""
    unfitted = Builder({}, stores, lambda component, where: component, settings.releases.trust)
    rankers = {name: rankers_of(unfitted, table, f"pipelines.{name}") for name, table in settings.pipelines.items()}
    return {name: each for name, each in rankers.items() if each}


def rankers_of(builder: Builder, table: PipelineTable, where: str) -> dict[str, Ranker]:
    """What of the pipeline learns from candidates, by stage: "coarse", "fine"."""
    made: dict[str, Ranker] = {}
    for stage, each, key in (("coarse", table.coarse.rank, "coarse.rank"), ("fine", table.rank, "rank")):
        if each and "model" not in each:  # a model that scores learns with the others
            component = builder.component(each, f"{where}.{key}")
            if isinstance(component, Ranker):
                made[stage] = component
    return made


def judging(table: PipelineTable) -> PipelineTable:
    """What of a pipeline judges items that others proposed."""
    coarse = {f"coarse.{name}": each for name, each in table.coarse.features.items()}
    return PipelineTable(features={**coarse, **table.features}, rank=table.rank)


def hidden(settings: Settings, data: Dataset) -> tuple[Dataset, Part] | None:
    """The past that rankers learn on and the questions that they learn from, in order of time; None when nobody can be
    held out."""
    likings, most = settings.train.likings, ASKED * settings.train.likings
    try:
        if settings.train.validation == "leave-last" and likings > 1:
            past, part = newest(data, likings)
        else:
            held = split(data, settings.train.validation, "train.validation")
            past, part = held.train, held.valid
    except DataError:  # too little to hold anything out: pipelines fall back to reciprocal-rank fusion
        return None
    if len(part) > most:
        part = part.take(np.sort(np.random.default_rng(settings.train.seed).choice(len(part), most, replace=False)))
    return past, part.take(np.argsort(part.time, kind="stable"))


def learn_pipeline(
    name: str,
    rankers: Mapping[str, Ranker],
    pipeline: Pipeline,
    part: Part,
    how: Train,
    *,
    progress: Progress = quiet,
) -> dict[str, Scorer]:
    """What `rankers` (by stage) learn from the candidates of `pipeline`: the fine one as `name`, the coarse one as
    NAME.coarse; not there when no right answer of `part` is among them."""
    negatives = lessons.Negatives(how.others, how.uniform, how.seed)
    learned = {}
    with learning(f"rankers of {name}"):
        for stage, scorer, told, seconds in lessons.learn(pipeline, part, negatives, rankers):
            progress(f"{stage} ranker of {name}: {told}", seconds)
            if scorer is not None:
                learned[name if stage == "fine" else coarse_of(name)] = scorer
    return learned


def coarse_of(name: str) -> str:
    """What the coarse ranker of pipeline `name` is called among scorers that were learned."""
    return f"{name}.coarse"


def labelled(
    pipeline: Pipeline, queries: Queries, query: Rows, item: Rows, *, others: int = 0
) -> tuple[Candidates, Scores]:
    """The candidates of `queries` with a label (N,): 1 where (query, item) is one of the given pairs; see `lessons`."""
    read = lessons.lessons(pipeline, queries, query, item, lessons.Negatives(others))
    return read.found, read.label


def _fit(
    settings: Settings,
    data: Dataset,
    stores: Mapping[str, object],
    learned: dict[str, Scorer | None],
    progress: Progress,
    also: Sequence[str] = (),
) -> Trained:
    done = Trained({}, {})

    def fit(component: Any, where: str) -> Any:
        if not isinstance(component, Recipe):
            return component
        start = perf_counter()
        with learning(where):
            model = component.fit(data, seed=settings.train.seed)
        done.seconds[where] = perf_counter() - start
        progress(f"{where}: {type(component).__name__}", done.seconds[where])
        return model

    builder = Builder(done.models, stores, fit, settings.releases.trust)
    used = models_named(list(settings.pipelines.values())).union(also)
    for name, table in settings.train.models.items():
        if name in used:
            done.models[name] = builder.component(table, f"train.models.{name}")
    for name, pipeline in settings.pipelines.items():
        scorers = learned.get(name), learned.get(coarse_of(name))
        done.pipelines[name] = pipeline_of(builder, pipeline, f"pipelines.{name}", *scorers)
    return done


def models_named(value: Any) -> set[str]:
    """The trained models that tables of the configuration refer to, at any depth."""
    if isinstance(value, PipelineTable | CoarseTable):
        value = [getattr(value, each.name) for each in fields(value)]
    if isinstance(value, Mapping):
        own = {value["model"]} if isinstance(value.get("model"), str) else set()
        return own.union(*map(models_named, value.values()))
    return set().union(*map(models_named, value)) if isinstance(value, list | tuple) else set()


def pipeline_of(
    builder: Builder, table: PipelineTable, where: str, learned: Scorer | None, coarse: Scorer | None = None
) -> Pipeline:
    """The pipeline that `table` describes; `learned` is its scorer and `coarse` that of its coarse ranker, unless None:
    then the tables of these may be scorers."""

    def stage(each: Mapping[str, Any], protocol: type, key: str) -> Any:
        made = builder.component(each, f"{where}.{key}")
        if not isinstance(made, protocol):
            raise ConfigError(f"{type(made).__name__} is not a {protocol.__name__}", where=f"{where}.{key}")
        return made

    def stages(tables: Mapping[str, Mapping[str, Any]], protocol: type, key: str) -> dict[str, Any]:
        return {n: stage(each, protocol, f"{key}.{n}") for n, each in tables.items()}

    sources = {}
    for source, each in table.sources.items():
        k = each.get("k", 100)
        if not isinstance(k, int) or k < 1:
            raise ConfigError(f"is {k!r}, expected a whole number of at least 1", where=f"{where}.sources.{source}.k")
        rest = {key: value for key, value in each.items() if key != "k"}
        sources[source] = Recall(stage(rest, Source, f"sources.{source}"), k)

    def scorer(each: Mapping[str, Any], key: str) -> Scorer | None:
        made = builder.component(each, f"{where}.{key}") if each else None
        if made is None or isinstance(made, Scorer):
            return made
        if not isinstance(made, Ranker):
            raise ConfigError(f"{type(made).__name__} is neither a Scorer nor a Ranker", where=f"{where}.{key}")
        return None

    first = None
    if table.coarse.keep:
        own = stages(table.coarse.features, Feature, "coarse.features")
        judge = scorer(table.coarse.rank, "coarse.rank") if coarse is None else coarse
        first = Coarse(judge, table.coarse.keep, own, table.coarse.always)
    return Pipeline(
        sources,
        stages(table.filters, Filter, "filters"),
        stages(table.features, Feature, "features"),
        scorer(table.rank, "rank") if learned is None else learned,
        stage(table.rerank, Reranker, "rerank") if table.rerank else None,
        stages(table.late_filters, Filter, "late_filters"),
        table.optional,
        stage(table.fallback, Source, "fallback") if table.fallback else None,
        limit=table.limit,
        coarse=first,
    )


def run(pipeline: Pipeline, queries: Queries, k: int) -> Candidates:
    """The slates of any number of queries, answered block by block: what a nightly batch and an evaluation do."""
    parts = []
    for start in range(0, len(queries), BLOCK):
        block = queries.take(np.arange(start, min(start + BLOCK, len(queries))))
        slate, _ = pipeline.recommend(block, k)
        parts.append(Candidates((slate.query + start).astype(np.int32), slate.item, slate.columns))
    return Candidates.concat(parts)
