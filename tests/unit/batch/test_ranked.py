"""A second stage of trees, from the configuration of its how-to page to answers, and what it may know."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from shortlist import config, release
from shortlist.batch.train import Trained, hidden, labelled, train
from shortlist.config import Settings
from shortlist.features.counts import Counts
from shortlist.pipeline import Pipeline, Trace
from shortlist.rank.combsum import EnsembleModel
from shortlist.rank.gbdt import GbdtModel
from shortlist.stores import ROLES, Stores, open_stores
from shortlist.testing.world import World, synthetic
from shortlist.types import Queries

PAGE = Path(__file__).parents[3] / "docs" / "howto" / "rank-with-trees.md"


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic()


def tables() -> list[dict[str, Any]]:
    """What the page shows: a whole configuration, then another ranker for it."""
    shown = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    return [tomllib.loads(dedent(text)) for text in shown]


@pytest.fixture(scope="module")
def settings() -> Settings:
    told, _ = tables()
    told["pipelines"]["home"]["rank"] |= {"rows_in_leaf": 5, "threads": 1, "trees": 30}  # the world is small
    return config.parse(told, home=Path("nowhere"))


@pytest.fixture(scope="module")
def stores(world: World) -> Stores:
    opened = open_stores(dict.fromkeys(ROLES, "memory:"))
    for entity, size, facts in (
        ("user", world.data.n_users, world.data.users),
        ("item", world.data.n_items, world.data.items),
    ):
        rows = opened.catalog.rows(entity, [str(row) for row in range(size)], create=True)
        opened.catalog.put(entity, rows, facts)
    return opened


@pytest.fixture(scope="module")
def trained(world: World, settings: Settings, stores: Stores) -> Trained:
    return train(settings, world.data, {role: getattr(stores, role) for role in ROLES})


@pytest.fixture(scope="module")
def home(trained: Trained) -> Pipeline:
    return trained.pipelines["home"]


def found(world: World, home: Pipeline) -> float:
    """The share of what is shown that people like; of what was seen nothing is shown."""
    queries = world.queries()
    queries = queries.with_exclude(queries.history)
    slate, trace = home.recommend(queries, 5)
    assert not trace.errors
    return float(world.likes[queries.user[slate.query], slate.item].mean())


def test_the_page_gives_trees_that_read_every_feature_and_find_what_people_like(
    world: World, home: Pipeline, settings: Settings, stores: Stores
) -> None:
    scorer = home.scorer
    assert isinstance(scorer, GbdtModel)
    assert {name.partition(".")[0] for name in scorer.columns} == {
        "next", "ease", "als", "standing", "gap", "place", "near", "count", "pace",
    }  # fmt: skip
    assert len(scorer.root) == 30
    others = (replace(settings, train=replace(settings.train, seed=seed)) for seed in (1, 2, 3))
    roles = {role: getattr(stores, role) for role in ROLES}
    hits = [found(world, home), *(found(world, train(each, world.data, roles).pipelines["home"]) for each in others)]
    assert np.mean(hits) > 1.4 * world.likes.mean()  # one small world alone says little


def test_it_learns_from_four_likings_of_each_and_no_more_others_than_asked(
    world: World, settings: Settings, home: Pipeline
) -> None:
    held = hidden(settings, world.data)
    assert held is not None
    past, part = held
    assert np.bincount(part.user).max() == 4
    assert len(past) < len(world.data)
    few = replace(settings.train, others=3)
    found, label = labelled(home, part.queries, part.relevant.owner, part.relevant["item"], others=few.others)
    per_query = np.unique(found.query[label == 0], return_counts=True)[1]
    assert per_query.max() == 3
    assert label.sum() == len(np.unique(found.query))
    every, right = labelled(home, part.queries, part.relevant.owner, part.relevant["item"])
    assert right.sum() == label.sum()
    assert len(every) > len(found)


def test_what_serving_shows_is_what_replay_computes(world: World, home: Pipeline) -> None:
    """The numbers of 1,000 rows: asked while events arrive one by one, and all at once afterwards."""
    data, features = world.data, home.features
    cut = len(data) - 40
    past = replace(data, events=data.events.take(np.arange(cut)), now=int(data.events.time[cut]))
    live, whole = (Counts(("1d", "7d")).fit(each, seed=0) for each in (past, data))
    rows = 0
    for at in range(cut, len(data)):
        event = data.events.take(np.arange(at, at + 1))
        now = int(event.time[0])
        known = data.before(now)
        queries = Queries.of(event.user, history=known.histories(event.user), time=now)
        _, found = home.candidates(queries, Trace())
        shown = {**features["pace"].columns(queries, found), **live.columns(queries, found)}
        replayed = {**features["pace"].columns(queries, found), **whole.columns(queries, found)}
        for name, column in shown.items():
            np.testing.assert_allclose(column, replayed[name], rtol=1e-6, err_msg=name)
        rows += len(found)
        live.update(event)
    assert rows > 1000


def test_the_second_stage_survives_a_release(world: World, home: Pipeline, stores: Stores, tmp_path: Path) -> None:
    version = release.save(tmp_path, {"home": home}, {"created": "2026-01-01T00:00:00"})
    loaded = release.load(tmp_path, version, {role: getattr(stores, role) for role in ROLES}).pipelines["home"]
    queries = world.queries(np.arange(20))
    ours, theirs = home.recommend(queries, 10)[0], loaded.recommend(queries, 10)[0]
    np.testing.assert_array_equal(ours.item, theirs.item)
    np.testing.assert_array_equal(ours.columns["score"], theirs.columns["score"])


def test_the_second_ranker_of_the_page_is_learned_served_and_released(
    world: World, settings: Settings, stores: Stores, tmp_path: Path
) -> None:
    (_, told), roles = tables(), {role: getattr(stores, role) for role in ROLES}
    rank = told["pipelines"]["home"]["rank"]
    for each in rank["rankers"][:2]:
        each |= {"rows_in_leaf": 5, "threads": 1, "trees": 30}
    page = replace(settings.pipelines["home"], rank=rank)
    home = train(replace(settings, pipelines={"home": page}), world.data, roles).pipelines["home"]
    assert isinstance(home.scorer, EnsembleModel)
    assert [type(each).__name__ for each in home.scorer.scorers] == ["GbdtModel", "GbdtModel", "CombSum"]
    assert found(world, home) > world.likes.mean()
    version = release.save(tmp_path, {"home": home}, {"created": "2026-01-01T00:00:00"})
    loaded = release.load(tmp_path, version, roles).pipelines["home"]
    queries = world.queries(np.arange(20))
    ours, theirs = home.recommend(queries, 10)[0], loaded.recommend(queries, 10)[0]
    np.testing.assert_array_equal(ours.item, theirs.item)
    np.testing.assert_array_equal(ours.columns["score"], theirs.columns["score"])
