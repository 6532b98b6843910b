"""Filters act inside retrieval: of 5,000 items a condition leaves 15, and any kind of source fills a page with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.batch.train import train
from shortlist.config import parse
from shortlist.dataset import Dataset
from shortlist.filters.attribute import Attribute
from shortlist.pipeline import Pipeline
from shortlist.stores import open_stores
from shortlist.types import Events, Queries

ITEMS, LEARNED, USERS, EACH = 5_000, 400, 120, 20
KNN = {"use": "models.itemknn:ItemKnn", "neighbours": 20}
FRESH = {"use": "recall.fresh:Fresh"}
POPULAR = {"use": "recall.popular:Popular"}
SOURCES: dict[str, dict[str, Any]] = {
    "als": {"use": "models.als:Als", "factors": 8},
    "ease": {"use": "models.ease:Ease"},
    "knn": KNN,
    "users": {"use": "models.userknn:UserKnn"},
    "next": {"use": "models.transitions:Transitions"},
    "similar": {"use": "recall.similar:Similar", "source": KNN},
    "popular": POPULAR,
    "top": {"use": "recall.toprated:TopRated"},
    "fresh": FRESH,
    "new": {"use": "recall.arrivals:Arrivals"},
    "explore": {"use": "recall.explore:Explore"},
    "editorial": {"use": "recall.editorial:Editorial", "ids": [f"i{n}" for n in range(0, ITEMS, 37)]},
    "ladder": {"use": "recall.ladder:Ladder", "rungs": [POPULAR, FRESH]},
}
TABLES = {
    "pipelines": {
        name: {
            "sources": {name: {**source, "k": 100}},
            "filters": {"seen": {"use": "filters.seen:Seen"}, "available": {"use": "filters.available:Available"}},
            "fallback": {"use": "recall.ladder:Ladder", "rungs": [POPULAR, FRESH]},
        }
        for name, source in SOURCES.items()
    }
}


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Any, Dataset, dict[str, Pipeline]]]:
    chance = np.random.default_rng(0)
    size = USERS * EACH
    user, item = np.repeat(np.arange(USERS), EACH).astype(np.int32), chance.integers(0, LEARNED, size).astype(np.int32)
    kind, value = np.full(size, 2, np.uint8), chance.integers(1, 6, size).astype(np.float32)
    time = chance.integers(1, 10**15, size)
    ids = ops.event_ids(user, item, kind, value, time)
    events = Events(user, item, kind, value, time, np.zeros(size, np.uint64), ids)
    with open_stores(dict.fromkeys(("catalog", "log", "state", "index"), "memory:")) as stores:
        stores.catalog.rows("user", [f"u{n}" for n in range(USERS)], create=True)
        rows = stores.catalog.rows("item", [f"i{n}" for n in range(ITEMS)], create=True)
        stores.catalog.put("item", rows, {"rare": np.zeros(ITEMS, np.bool_)})
        data = Dataset.of(events, USERS, ITEMS)
        roles = {role: getattr(stores, role) for role in ("catalog", "log", "state", "index")}
        yield stores.catalog, data, train(parse(TABLES), data, roles).pipelines


@pytest.mark.parametrize("source", SOURCES)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(0, 15))
def test_a_list_is_short_only_when_the_catalogue_is(
    world: tuple[Any, Dataset, dict[str, Pipeline]], source: str, seed: int, n: int, learned: int
) -> None:
    catalog, data, pipelines = world
    chance = np.random.default_rng(seed)
    known = chance.choice(LEARNED, learned, replace=False)
    fifteen = np.concatenate((known, LEARNED + chance.choice(ITEMS - LEARNED, 15 - learned, replace=False)))
    rare = np.zeros(ITEMS, np.bool_)
    rare[fifteen] = True
    catalog.put("item", np.arange(ITEMS, dtype=np.int32), {"rare": rare})
    people = chance.integers(-1, USERS, 5).astype(np.int32)
    history = data.histories(people)
    queries = Queries.of(people, history=history, context=history.last(2), time=data.now + 1, seed=seed)
    slate, trace = pipelines[source].recommend(Attribute(catalog, "rare").narrow(queries), n)
    assert not trace.errors
    short = 0
    for query in range(len(people)):
        items = slate.item[slate.query == query].tolist()
        seen = set(history["item"][history.owner == query].tolist())
        possible = set(fifteen.tolist()) - seen
        assert len(items) == len(set(items)) == min(n, len(possible))
        assert set(items) <= possible
        short += n - len(items)
    assert trace.short_by == short
