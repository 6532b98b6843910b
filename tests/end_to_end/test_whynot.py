"""What an explanation says is what the pipeline does when the reason is taken away; and it names nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from benchmarks import whynot
from shortlist import config
from shortlist.runtime import Runtime

KNN = {"use": "models.itemknn:ItemKnn", "neighbours": 5}
RULES = {
    "limit": 8,
    "sources": {
        "knn": {**KNN, "k": 12},
        "people": {"use": "models.userknn:UserKnn", "k": 15},
        "popular": {"use": "recall.popular:Popular", "k": 10},
        "explore": {"use": "recall.explore:Explore", "k": 6},
    },
    "filters": {
        "seen": {"use": "filters.seen:Seen", "window": "400d", "kinds": ["rate"]},
        "blocked": {"use": "filters.blocked:Blocked", "items": ["i5", "i50"]},
        "recent": {"use": "filters.attribute:Attribute", "where": "year >= 1985 and not 'Horror' in genres"},
    },
    "features": {"facts": {"use": "features.item:ItemColumns", "names": ["year"]}},
    "late_filters": {"old": {"use": "filters.attribute:Attribute", "where": "year < 2016"}},
    "rank": {"use": "rank.fuse:ReciprocalRank", "weights": {"people": 2.0}},
    "rerank": {
        "use": "rerank.chain:Chain",
        "steps": [
            {"use": "rerank.mmr:Mmr", "trade": 0.4, "pool": 20},
            {"use": "rerank.explore:ExploreSlots", "slots": 2},
            {"use": "rerank.caps:Caps", "column": "genres", "cap": 2},
        ],
    },
    "fallback": {"use": "recall.fresh:Fresh"},
}


def short() -> dict[str, Any]:
    """The default pipeline, its sources asked for so few that they cannot propose everything in a world so small."""
    home = asdict(config.parse({}).pipelines["home"])
    return {**home, "sources": {name: {**table, "k": 12} for name, table in home["sources"].items()}}


@pytest.fixture(scope="module", params=["default", "every rule"])
def runtime(
    request: Any, _loaded: Path, publish: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("whynot")
    copytree(_loaded, home, dirs_exist_ok=True)
    table = RULES if request.param == "every rule" else short()
    settings = config.parse({"pipelines": {"home": table}}, home=home)
    publish(settings)
    with Runtime.open(settings) as opened:
        catalog = opened.catalog
        new = catalog.rows("item", [f"new {at}" for at in range(8)], create=True)
        catalog.put("item", new, {"year": np.full(len(new), 1998.0)})
        catalog.put("item", np.arange(0, 90, 15, dtype=np.int32), {"available": np.zeros(6)})
        yield opened


def test_every_claim_holds_when_it_is_tried(runtime: Runtime) -> None:
    pipeline, items = runtime.release.pipelines["home"], runtime.catalog.size("item")
    unusual = np.array([0, 15, 30, *range(90, 98)], np.int32)
    named: Counter[str] = Counter()
    for cases in (
        whynot.random(runtime, 50, 0),
        whynot.near(runtime, pipeline, 25, 1),
        whynot.ruled_out(runtime, unusual, 30, 2),
    ):
        _, faults, reasons = whynot.judged(pipeline, cases, 8, items)
        assert not faults
        named += reasons
    assert {"shown", "filter seen", "request exclude", "rank"} <= named.keys(), named
    assert any(each.startswith("recall") for each in named), named
    assert any(each.startswith("rerank") for each in named), named


def test_items_that_are_shown_have_a_true_reason(runtime: Runtime) -> None:
    pipeline = runtime.release.pipelines["home"]
    told = [whynot.true_reasons(pipeline, whynot._asked(runtime, user), 8) for user in range(40)]
    shown, true, own = np.sum(told, axis=0)
    assert shown == 40 * 8
    assert true >= 0.99 * shown
    assert own > 0
