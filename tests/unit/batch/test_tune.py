"""The search for parameters: it finds what was planted, goes on as if it had not stopped, and sees no test part."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from shortlist import models
from shortlist.batch import optuna, targets, tune
from shortlist.batch.spaces import SPACES
from shortlist.batch.targets import Ground, OfModel, OfPipeline
from shortlist.config import Settings, parse, resolve, use_path
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, DataError, NotFound, StoreError, StoreLocked
from shortlist.eval.search import Searched, Tried
from shortlist.eval.search_report import html
from shortlist.protocols import Recipe
from shortlist.testing.world import World, stores, synthetic

GRID = {"a": tuple(range(9)), "b": tuple(range(9)), "c": ("x", "y")}
START = {"a": 0, "b": 0, "c": 0}
PEOPLE = 90
EVER = float("inf")


def bowl(params: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    """The best is a = 6, b = 2, c = y; every question says the same."""
    value = 1 - ((params["a"] - 6) ** 2 + (params["b"] - 2) ** 2) / 100 - 0.1 * (params["c"] == "x")
    for step in (1, 3, 9):
        yield step, np.full(PEOPLE * step // 9, value)


def search(path: Path, trials: int, climb: Any = bowl, **more: Any) -> tuple[Tried, ...]:
    told: list[Tried] = []
    grid, start = more.pop("grid", GRID), more.pop("start", START)
    with optuna.opened(path, "bowl", grid, start, seed=more.pop("seed", 1), least=1, **more) as study:
        study.run(climb, trials, EVER, told.append)
        assert plain(study.tried[len(study.tried) - len(told) :]) == plain(tuple(told))
        return study.tried


def plain(tried: tuple[Tried, ...]) -> list[Any]:
    return [(each.number, each.params, each.state, repr(each.value), each.share) for each in tried]


# the search itself


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tried, ...]:
    """A search of 40 settings out of 162."""
    return search(tmp_path_factory.mktemp("forty") / "s.sqlite", 40)


def test_the_first_setting_is_what_is_configured_and_no_setting_is_tried_twice(forty: tuple[Tried, ...]) -> None:
    assert forty[0].params == {"a": 0, "b": 0, "c": "x"}
    assert len({tuple(each.params.values()) for each in forty}) == len(forty) == 40


def test_it_comes_near_the_best_of_many_while_most_are_given_up_early(forty: tuple[Tried, ...]) -> None:
    whole = [each for each in forty if each.state == "whole"]
    best = max(whole, key=lambda each: each.value)
    assert best.value > 0.97  # of 162 settings nine are
    assert best.share == 1
    early = [each for each in forty if each.state == "early"]
    assert len(early) > len(whole)
    assert {each.share for each in early} <= {1 / 9, 1 / 3}


def test_a_small_space_is_tried_whole(tmp_path: Path) -> None:
    small = {"a": (5, 6, 7), "b": (2,), "c": ("x", "y")}
    tried = search(tmp_path / "s.sqlite", 40, grid=small)
    assert len(tried) == 6
    assert max(tried, key=lambda each: each.value).params == {"a": 6, "b": 2, "c": "y"}


def test_a_search_of_nothing_but_what_is_configured(tmp_path: Path) -> None:
    (only,) = search(tmp_path / "s.sqlite", 5, grid={"a": (6,), "b": (2,), "c": ("y",)})
    assert only.value == 1


def test_the_same_seed_repeats_and_another_does_not(forty: tuple[Tried, ...], tmp_path: Path) -> None:
    same, other = (search(tmp_path / f"{seed}.sqlite", 13, seed=seed) for seed in (1, 2))
    assert plain(same) == plain(forty[:13]) != plain(other)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(forty: tuple[Tried, ...], tmp_path: Path) -> None:
    asked = 0

    def breaks(params: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
        nonlocal asked
        for rung in bowl(params):
            asked += 1
            if asked in (14, 30):
                raise KeyboardInterrupt
            yield rung

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "s.sqlite", 22, breaks)
    assert plain(search(tmp_path / "s.sqlite", 22, breaks)) == plain(forty[:22])


def test_a_search_begun_anew_forgets(tmp_path: Path) -> None:
    search(tmp_path / "s.sqlite", 4)
    assert len(search(tmp_path / "s.sqlite", 2)) == 4
    assert len(search(tmp_path / "s.sqlite", 2, fresh=True)) == 2


def test_what_cannot_be_fitted_is_told_and_left_alone(tmp_path: Path) -> None:
    def brittle(params: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
        if params["a"] > 6:
            raise DataError("too large")
        yield from bowl(params)

    tried = search(tmp_path / "s.sqlite", 15, brittle)
    failed = [each for each in tried if each.state == "failed"]
    assert failed
    assert all(each.params["a"] > 6 and each.note == "too large" and np.isnan(each.value) for each in failed)
    assert all((each.params["a"] > 6) == (each.state == "failed") for each in tried)
    with pytest.raises(DataError):  # what is configured must work
        search(tmp_path / "t.sqlite", 3, brittle, start={"a": 8, "b": 0, "c": 0})


def test_time_bounds_a_search_but_what_is_configured_is_always_tried(tmp_path: Path) -> None:
    with optuna.opened(tmp_path / "s.sqlite", "bowl", GRID, START, seed=1, least=1) as study:
        study.run(bowl, 30, monotonic() - 1, lambda each: None)
        assert [each.state for each in study.tried] == ["whole"]
        study.run(bowl, 30, monotonic() - 1, lambda each: None)
        assert len(study.tried) == 1


def test_what_mattered_is_a_share_of_each_parameter(tmp_path: Path) -> None:
    def steep(params: dict[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
        for step in (1, 3, 9):
            yield step, np.full(9, -abs(params["a"] - 6) - 0.001 * params["b"])

    with optuna.opened(tmp_path / "s.sqlite", "bowl", GRID, START, seed=1, least=1) as study:
        study.run(steep, 3, EVER, lambda each: None)
        assert study.importance() == {}
        study.run(steep, 20, EVER, lambda each: None)
        importance = study.importance()
    assert next(iter(importance)) == "a"
    assert set(importance) == set(GRID)
    assert sum(importance.values()) == pytest.approx(1)


def test_one_search_at_a_time_and_only_in_a_file_that_is_one(tmp_path: Path) -> None:
    with (
        optuna.opened(tmp_path / "s.sqlite", "bowl", GRID, START, seed=1, least=1),
        pytest.raises(StoreLocked, match="another search is running"),
    ):
        search(tmp_path / "s.sqlite", 2)
    (tmp_path / "bad.sqlite").write_text("not a database, however long it may be" * 50)
    with pytest.raises(StoreError, match="cannot be used"):
        search(tmp_path / "bad.sqlite", 2)


# what is searched


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic(users=330, items=90, events=6600)


@pytest.fixture(scope="module")
def settings() -> Settings:
    """Ten is an absurd `reg` for ALS."""
    lone = {
        "sources": {"ease": {"model": "ease"}, "popular": {"use": "recall.popular:Popular", "k": 2}},
        "rank": {"use": "rank.weighted:ZBlend"},
        "optional": ["nothing"],
    }
    models = {"als": {"factors": 8, "reg": 10.0}, "fine": {"use": "models.als:Als", "factors": 8}}
    return parse({"train": {"models": models}, "pipelines": {"lone": lone}})


def ground_of(settings: Settings, world: World, how: str = "leave-last", data: Dataset | None = None) -> Ground:
    return Ground.of(settings, world.data if data is None else data, how=how, metric="ndcg@10")


def tuned(
    settings: Settings, world: World, path: Path, ground: Ground | None = None, asked: tuple[str, ...] = (), **more: Any
) -> Searched:
    target = targets.target_of(settings, stores(world), **more.pop("of", {"model": "als"}))
    grid = tune.grid_of(target, asked)
    return tune.tune(
        target, ground or ground_of(settings, world), grid, path=path, seed=0, trials=more.pop("trials", 12), stop=EVER
    )


def test_it_finds_a_planted_optimum_and_says_what_to_paste(settings: Settings, world: World, tmp_path: Path) -> None:
    found = tuned(settings, world, tmp_path / "s.sqlite", asked=("reg=0.0003,0.003,0.03,1,10",))
    assert found.configured.params == {"reg": 10.0}
    assert found.best.params["reg"] <= 0.03
    assert found.difference.low > 0
    assert "better than what is configured" in found.verdict()
    assert "the test part was not read" in found.caveat()
    pasted = tomllib.loads(found.toml)
    table = {"use": "models.als:Als", "factors": 8, "reg": found.best.params["reg"]}
    assert pasted == {"train": {"models": {"als": table}}}
    assert parse(pasted).train.models["als"] == table
    page = html([found])
    assert page.count("<svg") == 2
    assert "the test part was not read" in page
    assert "<script" not in page
    assert found.as_json()["part"] == "valid"


def test_the_best_and_the_configured_are_compared_by_person(settings: Settings, world: World, tmp_path: Path) -> None:
    found = tuned(settings, world, tmp_path / "s.sqlite", asked=("reg=0.003,0.03",))
    ground = ground_of(settings, world)
    target = OfModel(settings, stores(world), "als")
    (*_, (_, best)), (*_, (_, before)) = (
        list(target.on(ground)(each.params)) for each in (found.best, found.configured)
    )
    assert found.difference.value == pytest.approx(float((best - before).mean()), abs=1e-5)
    assert found.difference.n == len(ground.asked) == len(best)


def test_nothing_is_pasted_when_nothing_is_better(settings: Settings, world: World, tmp_path: Path) -> None:
    found = tuned(settings, world, tmp_path / "s.sqlite", asked=("reg=1,10",), of={"model": "fine"})
    assert found.best is found.configured
    assert found.toml == ""
    assert "nothing was better" in found.verdict()
    assert "Nothing to change" in html([found])


def test_what_iterates_gets_more_iterations_and_what_does_not_more_people(world: World, tmp_path: Path) -> None:
    settings = parse({"train": {"models": {"als": {"factors": 8, "iterations": 9}, "ease": {}}}})
    ground = replace(ground_of(settings, world), asked=ground_of(settings, world).asked.take(np.arange(300)))
    als, ease = (OfModel(settings, stores(world), name) for name in ("als", "ease"))
    assert (als.resource, ease.resource) == ("iterations", "people")
    assert [(step, len(each)) for step, each in als.on(ground)({})] == [(1, 300), (3, 300), (9, 300)]
    assert [(step, len(each)) for step, each in ease.on(ground)({})] == [(3, 100), (9, 300)]  # 33 people say little
    fitted = [
        float(
            np.mean(ground.values(resolve("models.als:Als")(factors=8, iterations=n).fit(ground.train, seed=0).recall))
        )
        for n in (1, 3, 9)
    ]
    assert [float(np.mean(each)) for _, each in als.on(ground)({})] == fitted


def test_settings_inside_settings_have_dots(world: World) -> None:
    table = {"use": "models.sasrec:Sasrec", "width": 8, "descent": {"epochs": 18, "batch": 16}}
    target = OfModel(parse({"train": {"models": {"sas": table}}}), stores(world), "sas")
    assert target.resource == "epochs"
    assert target.knobs["descent.epochs"].now == 18
    pasted = tomllib.loads(target.paste({"descent.rate": 0.003, "width": 16}))["train"]["models"]["sas"]
    assert pasted == {**table, "width": 16, "descent": {"epochs": 18, "batch": 16, "rate": 0.003}}


def test_a_pipeline_is_searched_by_how_many_its_sources_propose(
    settings: Settings, world: World, tmp_path: Path
) -> None:
    asked = ("sources.ease.k=1,20", "sources.popular.half_life=30d", "rank.depth=20")
    found = tuned(settings, world, tmp_path / "s.sqlite", asked=asked, of={"pipeline": "lone"}, trials=4)
    assert found.configured.params == {"sources.ease.k": 100, "sources.popular.half_life": "30d", "rank.depth": 20}
    few = next(each for each in found.tried if each.params["sources.ease.k"] == 1)
    assert few.value < found.configured.value
    target = OfPipeline(settings, stores(world), "lone")
    assert set(target.space) == {
        "sources.ease.k",
        "sources.popular.k",
        "sources.popular.half_life",
        "rank.depth",
    }
    before, after = (
        settings.pipelines["lone"],
        parse(tomllib.loads(target.paste({"sources.ease.k": 7}))).pipelines["lone"],
    )
    assert after.sources == {**before.sources, "ease": {"model": "ease", "k": 7}}
    assert replace(after, sources={}) == replace(before, sources={})


@pytest.mark.parametrize("how", ["leave-last", "global"])
def test_the_test_part_is_never_read(settings: Settings, world: World, tmp_path: Path, how: str) -> None:
    """Whatever happened in the test part, every figure of the search is the same."""
    events = world.data.events
    liked = np.flatnonzero(world.data.weight > 0)
    _, first = np.unique(
        events.user[liked].astype(np.int64) * world.data.n_items + events.item[liked], return_index=True
    )
    likings = np.zeros(len(events), np.bool_)
    likings[liked[first]] = True
    data = world.data.only(likings)
    if how == "global":
        hidden = np.arange(len(data)) >= int(len(data) * 0.9)
    else:
        user = data.events.user
        last = len(data) - 1 - np.unique(user[::-1], return_index=True)[1]
        hidden = np.zeros(len(data), np.bool_)
        hidden[last[np.bincount(user)[user[last]] >= 3]] = True
    changed = data.events.item.copy()
    for row in np.flatnonzero(hidden):
        changed[row] = np.setdiff1d(np.arange(data.n_items), changed[data.events.user == data.events.user[row]])[0]
    assert (changed[hidden] != data.events.item[hidden]).all()
    other = replace(data, events=replace(data.events, item=changed))
    whole, poisoned = (ground_of(settings, world, how, each) for each in (data, other))
    assert whole.digest == poisoned.digest
    first, second = (
        tuned(settings, world, tmp_path / f"{n}.sqlite", ground, trials=4) for n, ground in enumerate((whole, poisoned))
    )
    assert plain(first.tried) == plain(second.tried)
    assert not np.isin(whole.train.events.id, data.events.id[hidden]).any()


def test_other_data_or_values_are_another_search(settings: Settings, world: World, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    tuned(settings, world, path, asked=("reg=1,10,100",), trials=3)
    again = tuned(settings, world, path, asked=("reg=1,10,100",), trials=2)
    assert len(again.tried) == 3  # the same: it goes on
    assert len(tuned(settings, world, path, asked=("reg=1,10",), trials=2).tried) == 2
    fewer = world.data.only(np.arange(len(world.data)) < len(world.data) - 50)
    ground = ground_of(settings, world, data=fewer)
    assert len(tuned(settings, world, path, ground, asked=("reg=1,10,100",), trials=2).tried) == 2


# at the door


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("regg=1", "did you mean 'reg'"),
        ("reg=abc", "expected float"),
        ("reg=-5", "must be greater than 0"),
        ("most", "no usual values"),
    ],
)
def test_what_cannot_be_searched_is_refused(settings: Settings, world: World, asked: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tune.grid_of(OfModel(settings, stores(world), "ease"), [asked])


def test_a_pipeline_proposes_at_least_one(settings: Settings, world: World) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        tune.grid_of(OfPipeline(settings, stores(world), "home"), ["sources.ease.k=0"])


@pytest.mark.parametrize("text", ["ndgc@10", "ndcg", "ndcg@0", "ndcg@1001", "ndcg@-1", "ndcg@٣", "coverage@10"])
def test_metrics_are_checked(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a metric") as refused:
        tune.metric_of(text)
    assert "ndcg" in refused.value.hint


def test_names_are_checked(settings: Settings, world: World) -> None:
    with pytest.raises(NotFound, match="there are: als, ease, knn, next, fine"):
        targets.target_of(settings, stores(world), model="nobody")
    with pytest.raises(NotFound, match="no pipeline 'nobody'; there are: home, similar, lone"):
        targets.target_of(settings, stores(world), pipeline="nobody")


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "shortlist.batch.optuna")
    monkeypatch.delattr("shortlist.batch.optuna")
    with pytest.raises(ConfigError) as refused:
        tune.library()
    assert refused.value.hint == "pip install 'shortlist[tune]'"


# the spaces


def recipes() -> set[str]:
    """The recipes that are models, as `use` names them."""
    modules = [
        importlib.import_module(f"shortlist.models.{each.name}") for each in pkgutil.iter_modules(models.__path__)
    ]
    classes = [(module, cls) for module in modules for cls in vars(module).values() if isinstance(cls, type)]
    return {
        use_path(cls)
        for module, cls in classes
        if is_dataclass(cls) and hasattr(cls, "fit") and cls.__module__ == module.__name__
    }


def test_every_model_has_a_space() -> None:
    assert recipes() <= set(SPACES)
    assert len(recipes()) > 15


@pytest.mark.parametrize("use", sorted(each for each in SPACES if each.startswith(("models.", "recall."))))
def test_every_value_of_a_space_is_one_that_the_recipe_takes(use: str, world: World) -> None:
    table = {"use": use, **({"source": {"model": "ease"}} if use == "recall.recent:Recent" else {})}
    table |= {"column": "genres"} if use == "recall.expansion:Expansion" else {}
    table |= {"ranker": {"use": "rank.logistic:Logistic"}} if use == "models.pointwise:Pointwise" else {}
    settings = parse({"train": {"models": {"it": table}}})
    target = OfModel(settings, stores(world), "it")
    for name, values in SPACES[use].items():
        assert name in target.knobs
        grid = tune.grid_of(target, [f"{name}={','.join(map(repr, values))}"])
        assert set(values) <= set(grid[name])
    assert issubclass(resolve(use), Recipe) or hasattr(resolve(use), "recall")
