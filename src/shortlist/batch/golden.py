"""Golden lists: what a release answered when it was made, so that wherever it is loaded it must answer the same.

Only what depends on the release alone is asked: sources, features and scorers without a store, because catalogues and
states change for good reasons. The questions are nobody's: their histories are mixed from the events of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shortlist.config import store_roles
from shortlist.dataset import DAY, Dataset
from shortlist.errors import ReleaseError
from shortlist.eval.metrics import places
from shortlist.pipeline import Coarse, Pipeline, Trace
from shortlist.protocols import Catalog
from shortlist.release import Release
from shortlist.types import HISTORY, Queries, Ragged, Rows

Stage = TypeVar("Stage", Coarse, Pipeline)
QUESTIONS = 40
PLACES = 20
TIE = 1e-4  # of the largest score of a list: places so close may be swapped on another processor


def golden(pipelines: Mapping[str, Pipeline], data: Dataset, *, seed: int) -> dict[str, Any]:
    """The part "golden" of a release: questions, and what each pipeline answers them."""
    queries = _questions(data, seed)
    slates = {}
    for name, pipeline in pipelines.items():
        standing = _standing(pipeline)
        if standing.sources:
            slates[name] = _asked(standing, queries)
    return {"queries": queries, "slates": slates}


def replay(pipelines: Mapping[str, Pipeline], part: object) -> list[str]:
    """What `pipelines` answer differently from the part "golden" of their release, a sentence for each pipeline."""
    if not isinstance(part, dict) or not isinstance(part.get("queries"), Queries):
        raise ReleaseError("its golden lists are damaged")
    queries, told = part["queries"], []
    for name, slate in part["slates"].items():
        if name not in pipelines:
            told.append(f"{name}: there is no such pipeline")
            continue
        now = _asked(_standing(pipelines[name]), queries)
        close = np.abs(now["score"] - slate["score"]) <= TIE * np.abs(slate["score"]).max(axis=1, keepdims=True)
        same = close & ((now["item"] >= 0) == (slate["item"] >= 0))
        if not same.all():
            query, place = np.argwhere(~same)[0]
            was, found = slate["item"][query, place], now["item"][query, place]
            told.append(
                f"{name}: {int((~same).any(axis=1).sum())} of {len(queries)} lists differ, the first at place "
                f"{place + 1} of list {query + 1}: item row {found} instead of {was}"
            )
    return told


def warm_up(loaded: Release, catalog: Catalog, now: int = 0) -> Mapping[str, Trace]:
    """Ask every pipeline, so that what is wrong shows before it is served and memory-mapped arrays are read.

    ReleaseError for an item that the catalogue does not know.
    """
    size, traces = catalog.size("item"), {}
    viewed = _viewing(np.arange(min(2, size), dtype=np.int32), np.minimum(np.arange(3), size), now)
    for name, pipeline in loaded.pipelines.items():
        slate, traces[name] = pipeline.recommend(Queries.of([-1, 0], context=viewed, time=now), pipeline.limit)
        if len(slate) and not 0 <= int(slate.item.min()) <= int(slate.item.max()) < size:
            raise ReleaseError(f"{name} proposes an item beyond the {size:,} of this catalogue", where=loaded.version)
    return traces


def _questions(data: Dataset, seed: int) -> Queries:
    """Strangers with histories of 0 to 12 events drawn from everybody's; every other one has an item in view."""
    chance = np.random.default_rng(seed)
    length = np.arange(QUESTIONS) % 13 if len(data) else np.zeros(QUESTIONS, np.int64)
    drawn = chance.integers(0, max(1, len(data)), int(length.sum()))
    events = data.events.take(drawn)
    ptr = np.concatenate(([0], np.cumsum(length))).astype(np.int64)
    age = np.repeat(ptr[1:], length) - np.arange(len(drawn))
    said = {name: getattr(events, name) for name in ("item", "kind", "value")}
    history = Ragged(ptr, {**said, "weight": data.weight[drawn], "time": data.now - age.astype(np.int64) * DAY})
    looking = np.arange(QUESTIONS) % 2 * min(1, data.n_items)
    viewed = chance.integers(0, max(1, data.n_items), int(looking.sum()), dtype=np.int32)
    context = _viewing(viewed, np.concatenate(([0], np.cumsum(looking))), data.now)
    nobody = np.full(QUESTIONS, -1, np.int32)
    return Queries.of(
        nobody,
        history=history,
        context=context,
        exclude=Ragged(history.ptr, {"item": history["item"]}),
        time=data.now,
        seed=np.arange(QUESTIONS, dtype=np.uint64),
    )


def _viewing(item: Rows, ptr: NDArray[np.integer[Any]], now: int) -> Ragged:
    """Lists of items in view."""
    like = {"kind": 0, "value": 1, "weight": 1, "time": now}
    rows = {name: np.full(len(item), value, HISTORY[name]) for name, value in like.items()}
    return Ragged(ptr.astype(np.int64), {"item": item, **rows})


def _standing(pipeline: Pipeline) -> Pipeline:
    """What of a pipeline stands without stores."""

    def without(stage: Stage) -> Stage:
        return replace(
            stage,
            scorer=None if _holds_store(stage.scorer) else stage.scorer,
            features={name: feature for name, feature in stage.features.items() if not _holds_store(feature)},
        )

    sources = {name: recall for name, recall in pipeline.sources.items() if not _holds_store(recall.source)}
    coarse = without(pipeline.coarse) if pipeline.coarse else None
    return without(Pipeline(sources, features=pipeline.features, scorer=pipeline.scorer, coarse=coarse))


def _holds_store(thing: object) -> bool:
    if isinstance(thing, Mapping):
        return any(map(_holds_store, thing.values()))
    if isinstance(thing, tuple):
        return any(map(_holds_store, thing))
    if not is_dataclass(thing) or isinstance(thing, type):
        return False
    return bool(store_roles(type(thing))) or any(_holds_store(getattr(thing, each.name)) for each in fields(thing))


def _asked(standing: Pipeline, queries: Queries) -> dict[str, Any]:
    """Items and scores (Q, PLACES) that the standing parts answer, -1 and 0 where a place is empty."""
    slate, trace = standing.recommend(queries, PLACES)
    if trace.errors:
        raise ReleaseError(f"golden lists: {trace.reasons[0]}")
    score = np.nan_to_num(slate.columns["score"], nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)
    item = places(slate, len(queries), PLACES)
    held = np.zeros(item.shape, np.float32)
    held[item >= 0] = score  # a slate is sorted by query, and none has more rows than places
    return {"item": item, "score": held}
