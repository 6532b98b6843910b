"""Pipelines edited while serving: tables laid over those of the release, every version kept beside the stores.

A table is built from what the release holds: models by name, and every component that the release was trained with, by
its table. What needs no training is made anew; anything else that learns is refused, with the way to train it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from shortlist.batch.golden import warm_up
from shortlist.batch.train import pipeline_of
from shortlist.config import Builder, PipelineTable, Settings, Table, check_coarse, convert
from shortlist.dataset import Dataset
from shortlist.derived import all_rows
from shortlist.errors import ConfigError, StoreError
from shortlist.filters.seen import Seen
from shortlist.pipeline import Pipeline
from shortlist.protocols import Adjustable, Catalog, Ranker, Recipe, Scorer
from shortlist.release import Release
from shortlist.rerank.mmr import Mmr
from shortlist.stores.embedded_notes import Meta
from shortlist.types import Events

PREFIX = "scenario."
VERSIONS = 20  # kept of each
SCENARIOS = 50  # edited at most: each is a label of the metrics
SOURCES, ROWS, PLACES = 50, 10_000, 200  # of one table, of one source, of one page
FACTS_ONLY = (Seen, Mmr)  # recipes that learn from the catalogue and the configuration, not from events
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Version:
    """One edit: its number, when (microseconds), and the table; no table = back to what the release has."""

    number: int
    time: int
    table: dict[str, Any] | None


@dataclass
class Scenarios:
    """The edits of one installation. `refused` names those that the current release cannot serve, and why."""

    meta: Meta | None
    settings: Settings
    catalog: Catalog
    stores: Mapping[str, object]
    refused: dict[str, str] = field(default_factory=dict)
    laid: dict[str, str] = field(default_factory=dict)  # the edits that are served, as they are kept

    def history(self, name: str) -> list[Version]:
        """The versions of `name`, oldest first."""
        text = self.meta.get(PREFIX + name) if self.meta else ""
        return msgspec.json.decode(text, type=list[Version]) if text else []

    def names(self) -> list[str]:
        """The scenarios that were ever edited."""
        return [*self.meta.items(PREFIX)] if self.meta else []

    def changed(self) -> bool:
        """Whether there are edits that are not served yet."""
        return self.meta is not None and self.meta.items(PREFIX) != self.laid

    def edit(self, name: str, table: PipelineTable | None, now: int) -> Version:
        """Keep a new version of `name`, durably."""
        if self.meta is None:
            raise StoreError("no store of this installation can keep scenarios")
        versions = self.history(name)
        if not versions and len(self.names()) >= SCENARIOS:
            raise ConfigError(f"{SCENARIOS} scenarios are edited already", hint="put others into shortlist.toml")
        number = versions[-1].number + 1 if versions else 1
        made = Version(number, now, None if table is None else plain(table))
        self.meta.set(PREFIX + name, msgspec.json.encode([*versions, made][-VERSIONS:]).decode())
        return made

    def table(self, release: Release, name: str) -> PipelineTable | None:
        """What `name` is made of: as edited, or as the release has it."""
        versions = self.history(name)
        edited = versions[-1].table if versions else None
        return self._tables(release).get(name) if edited is None else convert(PipelineTable, edited, name)

    def over(self, release: Release, now: int) -> Release:
        """`release` with every edit that it can serve; without a release there is nothing to build from."""
        self.refused, self.laid = {}, self.meta.items(PREFIX) if self.meta else {}
        pipelines = dict(release.pipelines)
        for name in self.laid if release.version else ():
            table = self.history(name)[-1].table
            if table is not None:
                try:
                    pipelines |= self.trial(release, name, convert(PipelineTable, table, name), now).pipelines
                except ConfigError as error:
                    self.refused[name] = str(error)
        return replace(release, pipelines=pipelines)

    def trial(self, release: Release, name: str, table: PipelineTable, now: int) -> Release:
        """`release` with nothing but `name` made from `table`, which has answered once. ConfigError when it cannot."""
        made = replace(release, pipelines={name: self.build(release, name, table)})
        try:
            warm_up(made, self.catalog, now)
        except Exception as error:  # whatever a foreign class raises
            raise ConfigError(f"it does not answer: {type(error).__name__}: {error}", where=name) from error
        return made

    def build(self, release: Release, name: str, table: PipelineTable) -> Pipeline:
        """The pipeline that `table` describes, made of what `release` holds. ConfigError when that is not enough."""
        _check(name, table)
        parts = _Parts(release, self._tables(release), name)
        for place, features in (("features", table.features), ("coarse.features", table.coarse.features)):
            for feature, each in features.items():
                if _text(each) not in parts.held:  # it has folded the past; one made now would know nothing of it
                    raise _untrained(f"{name}.{place}.{feature}")
        stages: dict[str, Any] = {
            stage: {key: parts.named(each, f"{name}.{stage}.{key}") for key, each in getattr(table, stage).items()}
            for stage in ("filters", "features", "late_filters")
        }
        sources = {
            key: {**parts.named(_without_k(each), f"{name}.sources.{key}"), "k": each.get("k", 100)}
            for key, each in table.sources.items()
        }
        stages |= {stage: parts.named(getattr(table, stage), f"{name}.{stage}") for stage in ("rerank", "fallback")}
        builder = Builder(parts.held, self.stores, self._fitted, self.settings.releases.trust)

        def learned(rank: Table, scorers: Mapping[str, Scorer | None], where: str) -> tuple[Scorer | None, Table]:
            """The scorer of the release, or the table that is one."""
            if _text(rank) in scorers:
                return scorers[_text(rank)], {}
            if rank and isinstance(made := builder.component(rank, where), Ranker):
                scorer = _adjusted(builder, scorers, made)
                if scorer is None:
                    raise _untrained(where)
                return scorer, {}
            return None, rank

        fine, rank = learned(table.rank, parts.scorers, f"{name}.rank")
        first, cheap = learned(table.coarse.rank, parts.coarse, f"{name}.coarse.rank")
        own = {key: parts.named(each, f"{name}.coarse.features.{key}") for key, each in table.coarse.features.items()}
        coarse = replace(table.coarse, rank=cheap, features=own)
        table = replace(table, sources=sources, rank=rank, coarse=coarse, **stages)
        return pipeline_of(builder, table, name, fine, first)

    def _fitted(self, component: Any, where: str) -> Any:
        if not isinstance(component, Recipe):
            return component
        if not isinstance(component, FACTS_ONLY):
            raise _untrained(where)
        items = all_rows(self.catalog)
        facts = self.catalog.read("item", items, self.catalog.names("item"))
        return component.fit(Dataset.of(Events.empty(), 0, len(items), kinds=self.settings.kinds, items=facts), seed=0)

    def _tables(self, release: Release) -> Mapping[str, PipelineTable]:
        """The tables that `release` was trained with; those of today where it does not say."""
        recorded = release.facts.get("tables")
        if not isinstance(recorded, Mapping):
            return self.settings.pipelines
        return {name: convert(PipelineTable, table, name) for name, table in recorded.items()}


class _Parts:
    """What a release holds, by the table that it was made from; the scenario `first` before the others."""

    def __init__(self, release: Release, tables: Mapping[str, PipelineTable], first: str) -> None:
        self.held: dict[str, Any] = {}
        self.scorers: dict[str, Scorer | None] = {}
        self.coarse: dict[str, Scorer | None] = {}
        for name in sorted(release.pipelines.keys() & tables.keys(), key=lambda name: (name != first, name)):
            table, pipeline = tables[name], release.pipelines[name]
            sources = {key: recall.source for key, recall in pipeline.sources.items()}
            self._note({key: _without_k(each) for key, each in table.sources.items()}, sources)
            for stage in ("filters", "features", "rerank", "late_filters", "fallback"):
                made = getattr(pipeline, {"rerank": "reranker"}.get(stage, stage))
                self._note(getattr(table, stage), made)
            if table.rank:
                self.scorers.setdefault(_text(table.rank), pipeline.scorer)
            if pipeline.coarse is not None:
                self._note(table.coarse.features, pipeline.coarse.features)
                if table.coarse.rank:
                    self.coarse.setdefault(_text(table.coarse.rank), pipeline.coarse.scorer)

    def named(self, value: Any, where: str) -> Any:
        """`value` with every component that is held put as a model of that name, for a `Builder` of what is held."""
        if isinstance(value, Mapping):
            if _text(value) in self.held:
                return {"model": _text(value)}
            if "model" in value:
                held = [each["model"] for each in map(json.loads, self.held) if "model" in each]
                hint = f"it has: {', '.join(sorted(held)) or 'none'}"
                raise ConfigError(f"the release has no model {value['model']!r}", where=where, hint=hint)
            return {key: self.named(each, f"{where}.{key}") for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.named(each, f"{where}[{at}]") for at, each in enumerate(value)]
        return value

    def _note(self, table: Any, made: Any) -> None:
        """Walk a table and what was made of it side by side; a model may have dropped what its recipe was given."""
        if isinstance(table, Mapping):
            component = "use" in table or "model" in table
            if component and made is not None:
                self.held.setdefault(_text(table), made)
            for key, each in table.items():
                self._note(each, getattr(made, key, None) if component else (made or {}).get(key))
        elif isinstance(table, list | tuple) and isinstance(made, tuple) and len(table) == len(made):
            for each, part in zip(table, made, strict=True):
                self._note(each, part)


def plain(table: PipelineTable) -> dict[str, Any]:
    """A table as JSON holds it, without what is as it is by default."""
    default = msgspec.to_builtins(PipelineTable())
    return {key: value for key, value in msgspec.to_builtins(table).items() if value != default[key]}


def _check(name: str, table: PipelineTable) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:70]!r} cannot name a scenario", hint="a to z, then a to z, 0 to 9, _ and -")
    if not 1 <= len(table.sources) <= SOURCES:
        raise ConfigError(f"has {len(table.sources)} sources, expected 1 to {SOURCES}", where=f"{name}.sources")
    if not 1 <= table.limit <= PLACES:
        raise ConfigError(f"is {table.limit}, expected 1 to {PLACES}", where=f"{name}.limit")
    check_coarse(table, name)
    for source, each in table.sources.items():
        if isinstance(k := each.get("k", 1), int) and k > ROWS:
            raise ConfigError(f"is {k}, expected 1 to {ROWS}", where=f"{name}.sources.{source}.k")


def _adjusted(builder: Builder, scorers: Mapping[str, Scorer | None], wanted: object) -> Scorer | None:
    """One of the `scorers` that were learned, by their tables, with the settings of `wanted` that need no learning."""
    if not isinstance(wanted, Adjustable):
        return None
    for text, scorer in scorers.items():
        before = builder.component(json.loads(text), "rank")
        made = wanted.adjusted(before, scorer) if isinstance(before, Ranker) and scorer is not None else None
        if made is not None:
            return made
    return None


def _without_k(table: Table) -> Table:
    return {key: each for key, each in table.items() if key != "k"}


def _text(table: Any) -> str:
    """A table as text: equal tables, equal text."""
    return json.dumps(msgspec.to_builtins(table), sort_keys=True)


def _untrained(where: str) -> ConfigError:
    return ConfigError(
        "this has to be trained, and the release holds nothing made from this very table",
        where=where,
        hint="take a table that the release was trained with, or put this one into shortlist.toml, train and publish",
    )
