"""The gate lets through what is as good as what serves, and stops the rest with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted, swaps
from benchmarks.planted import Plant
from shortlist import release
from shortlist.batch import gate, golden
from shortlist.batch.gate import Check, GateFailed
from shortlist.batch.steps import by_role, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.data.frames import load_frames
from shortlist.data.world import generate
from shortlist.dataset import Dataset
from shortlist.errors import NotFound
from shortlist.stores import Stores

NOW = 1_700_000_000_000_000


@dataclass(frozen=True)
class Shop:
    """An installation with a live release, open."""

    settings: Settings
    stores: Stores
    data: Dataset
    live: str

    def plant(self, plant: Plant) -> str:
        return plant.make(self.settings, self.data, self.stores)

    def examine(self, version: str) -> dict[str, Check]:
        return {check.name: check for check in gate.examine(self.settings, self.stores, version).checks}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    frames = generate(now=NOW, users=300, items=300, events=15_000).frames
    settings, version = swaps.live(frames, tmp_path_factory.mktemp("shop"))
    with open_configured(settings, read_only=True) as stores:
        yield Shop(settings, stores, read_window(settings, stores.catalog, stores.log), version)


@pytest.mark.fault("M6")
@pytest.mark.parametrize("plant", list(planted.bad(1)), ids=lambda plant: plant.kind)
def test_a_planted_bad_release_is_stopped(shop: Shop, plant: Plant) -> None:
    version = shop.plant(plant)
    with pytest.raises(GateFailed) as refused:
        gate.publish(shop.settings, shop.stores, version, by="a test")
    assert refused.value.exit_code == 7
    failed = {check.name: check for check in refused.value.gate.checks if check.verdict == "fail"}
    expected = {"leaked": {"memory"}, "random": {"quality"}, "constant": {"quality"}, "popular": {"quality"}}
    assert expected[plant.kind] <= failed.keys(), failed
    assert all(check.hint for check in failed.values())
    assert release.current(shop.settings.releases_path) == shop.live
    last = release.history(shop.settings.releases_path)[-1]
    assert (last.action, last.release, set(last.failed)) == ("refuse", version, failed.keys())


@pytest.mark.fault("M6")
@pytest.mark.parametrize("plant", list(planted.good(2)), ids=lambda plant: f"{plant.kind}-{plant.seed}")
def test_a_good_release_passes(shop: Shop, plant: Plant) -> None:
    checks = shop.examine(shop.plant(plant))
    assert {name for name, check in checks.items() if check.verdict != "pass"} <= {"latency"}, checks


def test_force_publishes_and_is_written_down_and_rollback_goes_back(shop: Shop) -> None:
    root = shop.settings.releases_path
    version = shop.plant(Plant("constant", False, 7, {**next(planted.bad(1)).table, "sources": CONSTANT}))
    told = gate.publish(shop.settings, shop.stores, version, force=True, by="ann", why="to see")
    assert "quality" in told.failed
    assert release.current(root) == version
    entry = release.history(root)[-1]
    assert (entry.action, entry.by, entry.why, entry.before) == ("force", "ann", "to see", shop.live)
    assert set(entry.failed) == set(told.failed)
    assert release.roll_back(root, by="ann") == (shop.live, version)
    assert release.current(root) == shop.live
    with pytest.raises(NotFound, match="no earlier release"):
        release.roll_back(root)


CONSTANT = {"constant": {"use": "benchmarks.planted:Constant", "k": 100}}


def test_the_first_release_needs_nothing_to_compare_with(shop: Shop, tmp_path: Path) -> None:
    root = shop.settings.releases_path
    (root / "CURRENT").rename(tmp_path / "CURRENT")
    try:
        checks = shop.examine(shop.live)
        assert {each.name for each in checks.values() if each.verdict == "fail"} == set()
        assert {"coverage", "overlap@10", "latency"} == {e.name for e in checks.values() if e.verdict == "none"}
        assert "chance" in checks["quality"].limit
    finally:
        (tmp_path / "CURRENT").rename(root / "CURRENT")


def test_a_release_without_rehearsal_does_not_replace_one_that_has_it(shop: Shop) -> None:
    loaded = release.load(shop.settings.releases_path, shop.live, by_role(shop.stores))
    facts = {**loaded.facts, "created": "2026-06-01T00:00:00"}
    version = release.save(shop.settings.releases_path, loaded.pipelines, facts)
    checks = shop.examine(version)
    assert checks["quality"].verdict == "fail"
    assert "shortlist train" in checks["quality"].hint
    assert checks["golden"].verdict == "none"


def test_too_little_data_is_told_and_no_reason_to_refuse(tmp_path: Path) -> None:
    settings = parse({}, home=tmp_path)
    frames = generate(now=NOW, users=12, items=100, events=20).frames
    with open_configured(settings) as stores:
        load_frames(frames, stores.catalog, stores.log, kinds=settings.kinds, now=NOW, rejects=tmp_path / "rejects")
        data = read_window(settings, stores.catalog, stores.log)
        Plant("live", True, 0).make(settings, data.only(np.arange(len(data)) < 2), stores)
        told = gate.publish(settings, stores)
    assert told.failed == []
    assert {"empty": "pass"}.items() <= {check.name: check.verdict for check in told.checks}.items()


# golden lists


def test_golden_lists_notice_other_weights_and_only_those(shop: Shop) -> None:
    root = shop.settings.releases_path
    part = release.load_part(root, shop.live, "golden", {})
    loaded = release.load(root, shop.live, by_role(shop.stores))
    assert golden.replay(loaded.pipelines, part) == []
    home = loaded.pipelines["home"]
    ease = home.sources["ease"].source
    other = replace(ease, weight=np.ascontiguousarray(ease.weight[::-1]))  # type: ignore[attr-defined,type-var]
    changed = replace(home, sources={**home.sources, "ease": replace(home.sources["ease"], source=other)})
    (told,) = golden.replay({**loaded.pipelines, "home": changed}, part)
    assert told.startswith("home: ")
    assert golden.replay({"home": home}, part) == ["similar: there is no such pipeline"]


def test_golden_questions_are_nobodys(shop: Shop) -> None:
    part = release.load_part(shop.settings.releases_path, shop.live, "golden", {})
    assert isinstance(part, dict)
    queries = part["queries"]
    assert (queries.user == -1).all()
    known = {tuple(each) for each in map(_items, range(shop.data.n_users), [shop.data] * shop.data.n_users)}
    lists = [tuple(queries.history.take(np.array([b]))["item"].tolist()) for b in range(len(queries))]
    assert not known & {each for each in lists if len(each) > 2}


def _items(user: int, data: Dataset) -> list[int]:
    items: list[int] = data.histories(np.array([user], np.int32))["item"].tolist()
    return items
