"""What `shortlist tune` can search: a model or a pipeline, its parameters, and what a setting of them is worth.

Settings are compared on the validation part of a split. It is cut out, with the past before it, before anything is
fitted; the test part stays behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from math import ceil
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_origin

import msgspec
import numpy as np

from shortlist.batch.spaces import KEPT, PROPOSED, SPACES, Space
from shortlist.batch.steps import system
from shortlist.batch.train import coarse_of, hidden, learn_pipeline, models_named, pipeline_of, rankers_of, split, train
from shortlist.config import Builder, CoarseTable, PipelineTable, Settings, Table, check_coarse, convert, hints_of
from shortlist.data.render import as_key, as_toml
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, DataError, NotFound
from shortlist.eval.baselines import System
from shortlist.eval.metrics import Values
from shortlist.eval.offline import ask, measure
from shortlist.eval.protocol import Part
from shortlist.protocols import Recipe, Source
from shortlist.types import Events

Stores: TypeAlias = Mapping[str, object]  # by role
Params: TypeAlias = Mapping[str, Any]
Climb: TypeAlias = Callable[[Params], Iterator[tuple[int, Values]]]
"""A setting's value per question at each rung, the cheapest first: (part of nine that it got, (B,) values)."""

STEPS = (1, 3, 9)  # parts of the resource at each rung, of nine
ASKED = 5000  # validation questions at most
FEWEST = 100  # questions of the first rung at least; with fewer a rung is left out
TURNS = ("iterations", "epochs", "descent.epochs")
"""What of a recipe is raised from rung to rung; one that has none is fitted once, and more people are asked."""


class Knob(NamedTuple):
    """A parameter that can be searched: its type and its value as configured."""

    hint: Any
    now: Any


class Target(Protocol):
    """What is searched."""

    where: str
    knobs: dict[str, Knob]
    space: Space  # the values that are tried when nobody names any
    resource: str  # what grows from rung to rung
    facts: object  # how it is configured

    def check(self, params: Params) -> None:
        """ConfigError when it cannot be made with `params`."""

    def on(self, ground: Ground) -> Climb:
        """Fit what no parameter changes; the rest is done for each setting."""

    def paste(self, params: Params) -> str:
        """The table of the configuration with `params`, as TOML."""


@dataclass(frozen=True)
class Ground:
    """What settings are learned from and asked. Nothing of the test part is in it."""

    split: str
    train: Dataset
    asked: Part  # in random order: the first of them are as good as any
    metric: str  # ndcg@10

    @staticmethod
    def of(settings: Settings, data: Dataset, *, how: str, metric: str) -> Ground:
        held = split(data, how or settings.evaluate.split, "evaluate.split")
        past, asked = held.train, held.valid
        item = np.concatenate((past.events.item, asked.relevant["item"]))
        known = np.bincount(item, minlength=past.n_items) > 0
        order = np.random.default_rng(settings.train.seed).permutation(len(asked))[:ASKED]
        return Ground(held.name, past, replace(asked.take(order), known=known), metric)

    @property
    def ladder(self) -> list[tuple[int, int]]:
        """(part of nine, questions) of each rung; small rungs are left out."""
        rungs = [(step, ceil(len(self.asked) * step / STEPS[-1])) for step in STEPS]
        return [rung for rung in rungs if rung[1] >= FEWEST or rung[0] == STEPS[-1]]

    def climb(self, system: System) -> Iterator[tuple[int, Values]]:
        """The values of more and more questions."""
        known, begin = np.empty(0), 0
        for step, end in self.ladder:
            known, begin = np.concatenate((known, self.values(system, begin, end))), end
            yield step, known

    def values(self, system: System, begin: int = 0, end: int | None = None) -> Values:
        """(B,) the metric of each question of `asked` from `begin` to `end`."""
        part = self.asked.take(np.arange(len(self.asked))[begin:end])
        k = int(self.metric.partition("@")[2])
        return measure(ask(system, part, k), part, (k,))[0][self.metric]

    @property
    def digest(self) -> str:
        """A short name of everything that is learned from and asked; facts of people and items are not in it."""
        events, made = self.train.events, hashlib.sha256()
        columns = (events.user, events.item, events.kind, events.value, events.time, self.train.weight)
        for each in (*columns, self.asked.user, self.asked.relevant["item"], self.asked.known):
            made.update(np.ascontiguousarray(each).tobytes())
        return made.hexdigest()


class OfModel:
    """A model under [train.models], judged by what it proposes alone."""

    def __init__(self, settings: Settings, stores: Stores, name: str) -> None:
        self._settings, self._stores, self._name = settings, stores, name
        self._table = settings.train.models[name]
        self.where = f"train.models.{name}"
        made = self._made(self._table)
        self.knobs = knobs_of(made)
        self.space: Space = SPACES.get(self._table.get("use", ""), {})
        turns = _turns(made)
        self.resource = turns.rpartition(".")[2] if turns else "people"
        self.facts: object = self._table

    def check(self, params: Params) -> None:
        made = self._made(overridden(self._table, params))
        if isinstance(made, Recipe):
            with suppress(DataError):  # there is nothing to fit on: only what it thinks of its parameters matters
                made.fit(Dataset.of(Events.concat([]), 0, 0, kinds=self._settings.kinds), seed=0)

    def on(self, ground: Ground) -> Climb:
        models = _models(self._settings, ground.train, self._stores, self._table)

        def answers(made: Any) -> System:
            model = made.fit(ground.train, seed=self._settings.train.seed) if isinstance(made, Recipe) else made
            if not isinstance(model, Source):
                raise ConfigError(
                    f"{type(made).__name__} proposes nothing by itself", where=self.where, hint="search its pipeline"
                )
            return model.recall

        def climb(params: Params) -> Iterator[tuple[int, Values]]:
            made = self._made(overridden(self._table, params), models, ground.train)
            turns = _turns(made)
            if not turns:
                yield from ground.climb(answers(made))
                return
            total, taken, values = _at(made, turns), 0, np.empty(0)
            for step in STEPS:
                if (count := ceil(total * step / STEPS[-1])) != taken:
                    taken, values = count, ground.values(answers(_with(made, turns, count)))
                yield step, values

        return climb

    def paste(self, params: Params) -> str:
        return _section(("train", "models", self._name), overridden(self._table, params))

    def _made(self, table: Table, models: Mapping[str, Any] | None = None, data: Dataset | None = None) -> Any:
        """The component itself unfitted; what it is made of fitted on `data`, if there is any."""
        if models is None:
            models = dict.fromkeys(self._settings.train.models)
        return _builder(self._settings, self._stores, models, data, but=self.where).component(table, self.where)


class OfPipeline:
    """A pipeline: how many each source proposes, and the parameters of what is made for this pipeline alone."""

    def __init__(self, settings: Settings, stores: Stores, name: str) -> None:
        self._settings, self._stores, self._name = settings, stores, name
        self._table: Table = msgspec.to_builtins(settings.pipelines[name])
        self.where = f"pipelines.{name}"
        self.resource = "people"
        self.knobs = {}
        space: dict[str, Sequence[Any]] = {}
        unfitted = _builder(settings, stores, dict.fromkeys(settings.train.models))
        if settings.train.validation == "impressions" and rankers_of(unfitted, settings.pipelines[name], self.where):
            raise ConfigError(
                "its ranker learns from what was shown, and trials are judged by lists",
                where=self.where,
                hint="tune its models (--model), and judge the ranker with: shortlist evaluate --impressions 1d",
            )
        stages = {f"sources.{source}": table for source, table in self._table["sources"].items()}
        for key, table in stages.items():
            self.knobs[f"{key}.k"] = Knob(int, table.get("k", 100))
            space[f"{key}.k"] = PROPOSED
        coarse = self._table["coarse"]
        if coarse["keep"]:
            self.knobs["coarse.keep"] = Knob(int, coarse["keep"])
            space["coarse.keep"] = KEPT
        for key, table in {**stages, "coarse.rank": coarse["rank"], "rank": self._table["rank"]}.items():
            if "use" in table:
                made = unfitted.component(_without_k(table) if key in stages else table, f"{self.where}.{key}")
                self.knobs |= {f"{key}.{field}": knob for field, knob in knobs_of(made).items()}
                space |= {f"{key}.{field}": values for field, values in SPACES.get(table["use"], {}).items()}
        self.space: Space = space
        used = {each: settings.train.models.get(each) for each in sorted(models_named(self._table))}
        self.facts: object = (self._table, used)

    def check(self, params: Params) -> None:
        table = self._typed(params)
        for source, each in table.sources.items():
            if each.get("k", 1) < 1:
                where = f"{self.where}.sources.{source}.k"
                raise ConfigError(f"is {each['k']!r}, expected a whole number of at least 1", where=where)
        check_coarse(table, self.where)

    def on(self, ground: Ground) -> Climb:
        settings, stores = self._settings, self._stores
        models = _models(settings, ground.train, stores, self._table)
        learns = settings.train.validation != "impressions" and (self._table["rank"] or self._table["coarse"]["rank"])
        held = hidden(settings, ground.train) if learns else None
        before = _models(settings, held[0], stores, self._table) if held else {}

        def climb(params: Params) -> Iterator[tuple[int, Values]]:
            table, learned = self._typed(params), {}
            if held and (rankers := rankers_of(_builder(settings, stores, models), table, self.where)):
                past = pipeline_of(_builder(settings, stores, before, held[0]), table, self.where, None)
                learned = learn_pipeline(self._name, rankers, past, held[1], settings.train)
            scorers = learned.get(self._name), learned.get(coarse_of(self._name))
            now = pipeline_of(_builder(settings, stores, models, ground.train), table, self.where, *scorers)
            yield from ground.climb(system(now))

        return climb

    def paste(self, params: Params) -> str:
        nothing: tuple[Any, ...] = ({}, (), [], msgspec.to_builtins(CoarseTable()))
        table = {name: each for name, each in overridden(self._table, params).items() if each not in nothing}
        plain = {name: each for name, each in table.items() if not isinstance(each, Mapping)}
        inner = [
            _section(("pipelines", self._name, name), each) for name, each in table.items() if isinstance(each, Mapping)
        ]
        return "\n".join([_section(("pipelines", self._name), plain), *inner])

    def _typed(self, params: Params) -> PipelineTable:
        return convert(PipelineTable, overridden(self._table, params), self.where)


def target_of(settings: Settings, stores: Stores, *, model: str = "", pipeline: str = "") -> Target:
    """The model or the pipeline of that name; NotFound."""
    there: Mapping[str, object] = settings.pipelines if pipeline else settings.train.models
    if (pipeline or model) not in there:
        what = "pipeline" if pipeline else "model"
        raise NotFound(f"no {what} {pipeline or model!r}; there are: {', '.join(there)}", where="shortlist tune")
    return OfPipeline(settings, stores, pipeline) if pipeline else OfModel(settings, stores, model)


def knobs_of(made: Any, prefix: str = "") -> dict[str, Knob]:
    """Numbers, texts and flags among the fields of a component, and of those of its fields that are mere settings."""
    knobs, hints = {}, hints_of(type(made))
    for each in fields(made):
        hint, value = hints[each.name], getattr(made, each.name)
        if hint in (int, float, str, bool) or get_origin(hint) is Literal:
            knobs[prefix + each.name] = Knob(hint, value)
        elif is_dataclass(value) and not isinstance(value, Recipe | Source):
            knobs |= knobs_of(value, f"{prefix}{each.name}.")
    return knobs


def overridden(table: Table, params: Params) -> dict[str, Any]:
    """`table` with the values of `params`; a dot goes into a table inside."""
    made = dict(table)
    for name, value in params.items():
        head, _, rest = name.partition(".")
        made[head] = overridden(made.get(head, {}), {rest: value}) if rest else value
    return made


def _builder(
    settings: Settings, stores: Stores, models: Mapping[str, Any], data: Dataset | None = None, *, but: str = ""
) -> Builder:
    """Fits whatever can learn on `data`, if there is any, and is not at `but`."""

    def fit(made: Any, where: str) -> Any:
        if data is None or where == but or not isinstance(made, Recipe):
            return made
        return made.fit(data, seed=settings.train.seed)

    return Builder(models, stores, fit, settings.releases.trust)


def _models(settings: Settings, data: Dataset, stores: Stores, table: Table) -> Mapping[str, Any]:
    """The trained models that `table` refers to, fitted on `data`."""
    only = replace(settings, pipelines={})
    return train(only, data, stores, learned={}, also=sorted(models_named(table))).models


def _without_k(table: Table) -> Table:
    return {name: each for name, each in table.items() if name != "k"}


def _turns(made: Any) -> str:
    knobs = knobs_of(made)
    return next((name for name in TURNS if name in knobs), "")


def _at(made: Any, name: str) -> Any:
    head, _, rest = name.partition(".")
    return _at(getattr(made, head), rest) if rest else getattr(made, head)


def _with(made: Any, name: str, value: Any) -> Any:
    head, _, rest = name.partition(".")
    return replace(made, **{head: _with(getattr(made, head), rest, value) if rest else value})


def _section(header: Sequence[str], table: Table) -> str:
    lines = [f"{as_key(name)} = {as_toml(each)}" for name, each in table.items()]
    return "\n".join([f"[{'.'.join(map(as_key, header))}]", *lines])
