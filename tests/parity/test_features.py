"""Every public feature says at serving what a replay says, and nothing of what comes later.

The features are those that the classes in tests/contracts make, which test_completeness.py compares with what there is:
a new one is checked here from its first day.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import config, release
from shortlist.dataset import Dataset
from shortlist.pipeline import Pipeline, Recall
from shortlist.recall.fresh import Fresh
from shortlist.runtime import Runtime
from shortlist.stores import ROLES, open_stores
from shortlist.testing import contracts
from shortlist.testing.checks import check_parity
from shortlist.testing.world import World
from shortlist.types import Candidates, Columns, Events, Queries, Ragged

ITEMS, ASKED = 40, 25  # 1,000 rows in all
SERVED = "score", "fallback", "rung"


def contract_classes() -> dict[str, Any]:
    """By the use path of what they make: the contract classes of features."""
    file = Path(__file__).parents[1] / "contracts" / "test_completeness.py"
    spec = importlib.util.spec_from_file_location("completeness_of_features", file)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    suites = [each() for each in module.suites() if issubclass(each, contracts.FeatureContract)]
    return {config.use_path(type(each.make(each.world()))): each for each in suites}


FEATURES = contract_classes()


def at(world: World, moment: int, events: Events) -> World:
    """The world with these events, seen from `moment`."""
    data = world.data
    kept = Dataset.of(events, data.n_users, data.n_items, users=data.users, items=data.items, now=moment)
    return replace(world, data=kept)


def question(data: Dataset, users: np.ndarray, moments: np.ndarray) -> Queries:
    """What each of `users` would have asked at each of `moments` (B,), with the history of then."""
    then = [data.before(int(moment)).histories(user[None]) for user, moment in zip(users, moments, strict=True)]
    ptr = np.concatenate(([0], np.cumsum([each.ptr[-1] for each in then]))).astype(np.int64)
    history = Ragged(ptr, {name: np.concatenate([each[name] for each in then]) for name in then[0].columns})
    return Queries.of(users, history=history, time=moments, seed=users.astype(np.uint64))


@pytest.mark.parametrize("path", sorted(FEATURES))
@given(share=st.floats(0.1, 0.95), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5)
def test_nothing_that_happens_later_changes_a_feature(path: str, share: float, seed: int) -> None:
    """Not what it was fitted on, not what it is told: the later events have other people, items, kinds and times."""
    suite = FEATURES[path]
    world, chance = suite.world(), np.random.default_rng(seed)
    events = world.data.events
    cut = int(share * len(events))
    moment = int(events.time[cut])
    past, real = events.take(events.time < moment), events.take(events.time >= moment)
    other = real.take(chance.integers(0, len(real), len(real)))
    moved = np.sort(moment + chance.integers(0, 10**13, len(other)) * (chance.random(len(other)) < 0.9))
    other = replace(other, user=chance.permutation(other.user), item=chance.permutation(other.item), time=moved)

    queries = question(world.data, chance.integers(-1, world.data.n_users, 8).astype(np.int32), np.full(8, moment))
    found = contracts.candidates(world, queries)
    known = suite.make(at(world, moment, past)).columns(queries, found)
    for future in (real, other):
        fitted = suite.make(at(world, moment, Events.concat([past, future])))
        told = suite.make(at(world, moment, past))
        told.update(future)
        for feature in (fitted, told):
            for name, column in feature.columns(queries, found).items():
                np.testing.assert_array_equal(column, known[name], err_msg=name)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Queries, Candidates]]]:
    """By feature: what a runtime answered and logged, question by question, while events came in between.

    The feature was fitted on what happened before the first question, released, and loaded.
    """
    return {path: list(_served(suite, tmp_path_factory.mktemp("served"))) for path, suite in FEATURES.items()}


def _served(suite: Any, home: Path) -> Iterator[tuple[Queries, Candidates]]:
    world = suite.world()
    data, events = world.data, world.data.events
    places = np.linspace(0.6 * len(events), len(events) - 1, ASKED).astype(int)
    moments = events.time[places]
    past = events.take(events.time < moments[0])
    given = config.parse({}, home=home)
    with open_stores({role: given.store_url(role) for role in ROLES}) as stores:
        for entity, size, facts in (("user", data.n_users, data.users), ("item", data.n_items, data.items)):
            rows = stores.catalog.rows(entity, [f"{entity[0]}{row}" for row in range(size)], create=True)
            stores.catalog.put(entity, rows, facts)
        stores.log.append(past)
        feature = suite.make(at(world, int(moments[0]), past))
        pipeline = Pipeline({"first": Recall(Fresh(stores.catalog), ITEMS)}, features={"it": feature})
        facts = {"created": "2026-01-01T00:00:00", "offset": stores.log.end()}
        given.releases_path.mkdir(parents=True, exist_ok=True)
        version = release.save(given.releases_path, {"home": pipeline}, facts)
        release.publish(given.releases_path, version)
    now, chance, before = 0, np.random.default_rng(1), int(moments[0])
    with Runtime.open(given, clock=lambda: now) as runtime:
        assert runtime.release.version == version
        for moment in moments.tolist():
            runtime.ingest(events.take((events.time >= before) & (events.time < moment)))
            now = before = moment
            user = chance.integers(-1, data.n_users, 1).astype(np.int32)
            asked = runtime.queries(user, user.astype(np.uint64))
            queries = replace(asked, columns={"fact.place": chance.integers(0, 9, 1)})
            reply = runtime.recommend("home", queries, ITEMS)
            assert not reply.trace.errors, reply.trace.reasons
            assert len(reply.slate) == ITEMS
            yield queries, reply.slate


@pytest.mark.parametrize("path", sorted(FEATURES))
def test_a_replay_computes_what_was_served(path: str, served: dict[str, list[tuple[Queries, Candidates]]]) -> None:
    """All questions at once, by a feature that was fitted on everything that ever happened."""
    suite, asked = FEATURES[path], served[path]
    world = suite.world()
    moments = np.array([int(queries.time[0]) for queries, _ in asked])
    users = np.concatenate([queries.user for queries, _ in asked])
    slates = [slate.take(np.argsort(slate.item)) for _, slate in asked]  # as the funnel has them before it ranks
    logged = Candidates.concat(
        [Candidates(slate.query + np.int32(b), slate.item, slate.columns) for b, slate in enumerate(slates)]
    )
    assert len(logged) == ITEMS * ASKED
    feature = suite.make(at(world, int(moments[0]), world.data.events))
    found = Candidates(logged.query, logged.item, {"first": logged.columns["first"]})
    told = {name: np.concatenate([each.columns[name] for each, _ in asked]) for name in asked[0][0].columns}
    replayed: Columns = feature.columns(replace(question(world.data, users, moments), columns=told), found)
    assert sorted(replayed) == sorted(set(logged.columns) - {"first", *SERVED})
    for name, column in replayed.items():
        check_parity(logged.columns[name], column, name)
    assert any(_speaks(column) for column in replayed.values()), "nothing was compared"


def _speaks(column: np.ndarray) -> bool:
    return bool(np.isfinite(column).any() if column.dtype.kind == "f" else (column > 0).any())
