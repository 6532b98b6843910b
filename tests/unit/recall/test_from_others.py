"""Sources that ask another source, a category or a batch run: each beside a naive twin."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import ops
from shortlist.batch import lists as files
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, DataError, NotFound, ShapeError
from shortlist.models.itemknn import ItemKnn
from shortlist.protocols import State
from shortlist.recall.expansion import Expansion
from shortlist.recall.given import Given
from shortlist.recall.popular import Popular
from shortlist.recall.precomputed import Precomputed, write
from shortlist.recall.recent import Recent
from shortlist.stores import open_stores
from shortlist.testing.world import World, stores, synthetic
from shortlist.types import HISTORY, Candidates, Events, Mask, Queries, Ragged


@pytest.fixture
def state() -> Iterator[State]:
    with open_stores(dict.fromkeys(("catalog", "log", "state", "index"), "memory:")) as opened:
        yield opened.state


def history(*items: int, weight: float = 1.0) -> Ragged:
    columns = {name: [1] * len(items) for name in HISTORY}
    return Ragged.of([{**columns, "item": items, "weight": [weight] * len(items)}], HISTORY)


def excluded(*items: int) -> Ragged:
    return Ragged.of([{"item": items}], {"item": np.int32})


def per_query(found: Candidates, queries: int) -> list[list[int]]:
    return [found.item[found.query == b].tolist() for b in range(queries)]


# the last few, each with its neighbours


def in_turns(source, queries: Queries, k: int, count: int) -> list[list[int]]:
    """The definition of recall.recent, one list at a time."""
    pages = []
    for b in range(len(queries)):
        one = queries.take(np.array([b]))
        liked = [i for i, w in zip(one.history["item"].tolist(), one.history["weight"].tolist(), strict=True) if w > 0]
        recent = list(dict.fromkeys(reversed(liked)))[:count]
        closed = one.with_exclude(excluded(*recent))
        named = [source.recall(replace(closed, history=history(item)), k).item.tolist() for item in recent]
        page: list[int] = []
        for turn in range(k):
            page += [each[turn] for each in named if turn < len(each) and each[turn] not in page]
        pages.append(list(dict.fromkeys(page))[:k])
    return pages


@pytest.mark.parametrize("mask", [np.empty(0, np.bool_), np.arange(90) % 3 > 0, np.arange(90) < 6])
def test_recent_items_take_turns_inside_what_is_allowed(mask: Mask):
    world = synthetic()
    source = ItemKnn(neighbours=20).fit(world.data, seed=0)
    queries = world.queries(np.arange(20)).with_allowed(mask) if len(mask) else world.queries(np.arange(20))
    queries = queries.with_exclude(Ragged(np.arange(21), {"item": np.arange(20, dtype=np.int32)}))
    for k, count in ((1, 10), (12, 4), (200, 3)):
        found = Recent(source, count).recall(queries, k)
        assert per_query(found, 20) == in_turns(source, queries, k, count)


def test_each_recent_item_has_its_share():
    neighbour = Ragged.of(
        [{"item": [i * 10 + n for n in range(1, 9)], "score": [1.0] * 8} for i in range(10)]
        + [{"item": [], "score": []}] * 90,
        {"item": np.int32, "score": np.float32},
    )
    source = replace(ItemKnn(neighbours=8).fit(synthetic().data, seed=0), neighbour=neighbour)
    found = Recent(source, 3).recall(Queries.of([-1], history=history(9, 2, 5, 2, 7)), 6)
    assert found.item.tolist() == [71, 21, 51, 72, 22, 52]  # 6 / 3 of each, the newest first; 9 is too long ago
    assert found.columns["score"].tolist() == [0, -1, -2, -3, -4, -5]


def test_nothing_recent_nothing_proposed():
    recent = Recent(Popular().fit(synthetic().data, seed=0))
    assert not len(recent.recall(Queries.of([-1, 3]), 5))
    assert not len(recent.recall(Queries.of([-1], history=history(4, weight=-1)), 5))
    with pytest.raises(ConfigError, match="at least 1"):
        Recent(recent, 0)


def test_the_reason_is_a_recent_item():
    world = synthetic()
    recent = Recent(ItemKnn().fit(world.data, seed=0), 2)
    queries = world.queries()
    found = recent.recall(queries, 6)
    why = recent.because(queries, found)
    for b in range(len(queries)):
        mine = queries.history.take(np.array([b]))
        liked = mine["item"][mine["weight"] > 0].tolist()
        assert set(why[found.query == b].tolist()) <= set(list(dict.fromkeys(reversed(liked)))[:2])
    quiet = Recent(Popular().fit(world.data, seed=0))
    assert (quiet.because(queries, found) == -1).all()


# from categories to items


def expansion(world: World, **given: object) -> Expansion:
    return Expansion(stores(world)["catalog"], "genres", **given)  # type: ignore[arg-type]


def order_of(world: World, policy: str, queries: Queries, b: int, model) -> np.ndarray:
    if policy == "rate":
        return -model.rate.astype(np.float64)
    if policy == "fresh":
        return -world.data.items["time"].astype(np.float64)
    return ops.chance(np.broadcast_to(queries.seed[b], world.data.n_items), np.arange(world.data.n_items))


@pytest.mark.parametrize("policy", ["rate", "fresh", "random"])
@pytest.mark.parametrize("categories", [1, 3, 20])
def test_items_come_from_the_best_category_downwards(policy: str, categories: int):
    world = synthetic()
    model = expansion(world, policy=policy, categories=categories).fit(world.data, seed=0)
    allowed = np.arange(90) % 4 > 0
    queries = world.queries(np.arange(30)).with_allowed(allowed)
    queries = queries.with_exclude(Ragged(np.arange(31) * 2, {"item": np.arange(60, dtype=np.int32)}))
    genres = world.data.items["genres"]
    codes = list(dict.fromkeys(name for each in genres for name in each))
    for k in (7, 500):
        found = model.recall(queries, k)
        for b in range(30):
            mine = queries.history.take(np.array([b]))
            liking = dict.fromkeys(codes, 0.0)
            for item, weight in zip(mine["item"].tolist(), mine["weight"].tolist(), strict=True):
                for name in genres[item]:
                    liking[name] += max(weight, 0)
            wanted = sorted((n for n in codes if liking[n] > 0), key=lambda n: (-liking[n], codes.index(n)))
            first = order_of(world, policy, queries, b, model)
            page: list[int] = []
            for name in wanted[:categories]:
                members = [i for i in range(90) if name in genres[i] and allowed[i] and i not in (2 * b, 2 * b + 1)]
                page += [i for i in sorted(members, key=lambda i: (first[i], i)) if i not in page]
            assert found.item[found.query == b].tolist() == page[:k]


def test_500_different_items_when_the_categories_hold_them():
    with open_stores(dict.fromkeys(("catalog", "log", "state", "index"), "memory:")) as opened:
        rows = opened.catalog.rows("item", [str(i) for i in range(700)], create=True)
        names = np.array([f"c{i % 35}" for i in range(700)], object)  # 20 in each: the top 20 categories hold 400
        opened.catalog.put("item", rows, {"category": names})
        data = Dataset.of(Events.empty(), 1, 700)
        liked = Queries.of([-1], history=history(*range(35)), seed=3)
        few = Expansion(opened.catalog, policy="random").fit(data, seed=0).recall(liked, 500)
        assert len(few) == len(set(few.item.tolist())) == 400
        many = Expansion(opened.catalog, policy="random", categories=25).fit(data, seed=0).recall(liked, 500)
        assert len(many) == len(set(many.item.tolist())) == 500
        late = opened.catalog.rows("item", ["late"], create=True)
        opened.catalog.put("item", late, {"category": np.array(["c0"], object)})
        model = Expansion(opened.catalog).fit(data, seed=0)
        assert 700 in model.recall(Queries.of([-1], history=history(0)), 30).item


def test_the_rate_of_few_showings_is_doubted():
    """Item 0: 1 of 1 showing taken; item 1: 30 of 100; item 2: 0 of 100."""
    item = np.array([0] * 2 + [1] * 130 + [2] * 100, np.int32)
    kind = np.array([7, 1] + [7] * 100 + [1] * 30 + [7] * 100, np.uint8)  # shown, click
    size = len(item)
    zeros = np.zeros(size, np.uint64)
    user, time = np.arange(size, dtype=np.int32), np.arange(size)
    events = Events(user, item, kind, np.ones(size, np.float32), time, zeros, np.zeros((size, 2), np.uint64))
    catalog = stores(synthetic())["catalog"]
    model = Expansion(catalog, "genres", prior=50).fit(Dataset.of(events, size, 4), seed=0)
    overall = 31 / 201
    expected = [(1 + 50 * overall) / 51, (30 + 50 * overall) / 150, 50 * overall / 150, overall]
    np.testing.assert_allclose(model.rate, expected, rtol=1e-6)
    assert model.overall == overall


def test_without_showings_the_rate_is_in_the_order_of_likings():
    world = synthetic()
    rate = expansion(world).fit(world.data, seed=0).rate
    taken = np.bincount(world.data.events.item[world.data.weight > 0], minlength=90)
    assert np.array_equal(np.argsort(-rate, kind="stable"), np.argsort(-taken, kind="stable"))


def test_another_source_may_say_what_is_preferred():
    world = synthetic()
    order = np.array([5, 0, 1, 2], np.int32)  # Thriller first, then Action
    source = Given(order, np.array([4, 3, 2, 1], np.float32))
    model = expansion(world, source=source, categories=1).fit(world.data, seed=0)
    nobody = Queries.of([-1], exclude=excluded(5), allowed=np.arange(90) > 5)  # what may be shown changes no preference
    found = model.recall(nobody, 5)
    assert all("Thriller" in world.data.items["genres"][item] for item in found.item)
    assert len(found) == 5


@pytest.mark.parametrize("wrong", [{"policy": "best"}, {"categories": 0}, {"prior": -1.0}])
def test_expansion_refuses_what_has_no_meaning(wrong):
    with pytest.raises(ConfigError, match="must be"):
        expansion(synthetic(), **wrong)


def test_expansion_names_a_column_of_the_wrong_kind():
    world = synthetic()
    catalog = stores(world)["catalog"]
    for wrong in (Expansion(catalog, "year"), Expansion(catalog, "genres", policy="fresh", time="title")):
        with pytest.raises(ConfigError, match="not a"):
            wrong.fit(world.data, seed=0).recall(world.queries(), 3)


# what a batch run wrote


def listed(*lists: list[tuple[int, float]]) -> Ragged:
    rows = [{"item": [i for i, _ in each], "score": [s for _, s in each]} for each in lists]
    return Ragged.of(rows, {"item": np.int32, "score": np.float32})


def test_the_list_of_the_last_run_counts_and_nothing_of_those_before(state: State):
    source, both = Precomputed(state), Queries.of([1, 0, 7, -1])
    assert not len(source.recall(both, 5))
    assert write(state, source.name, listed([(3, 0.5), (4, 0.9)], [(8, 1.0)]), 100) == 0
    assert per_query(source.recall(both, 5), 4) == [[8], [4, 3], [], []]
    assert write(state, source.name, listed([(6, 0.1)], []), 200) == 3
    assert per_query(source.recall(both, 5), 4) == [[], [6], [], []]
    assert write(state, source.name, listed([], []), 300) == 1
    assert not len(source.recall(both, 5))


def test_a_run_that_was_not_finished_is_not_seen(state: State):
    source = Precomputed(state)
    write(state, source.name, listed([(3, 0.5), (4, 0.9)]), 100)
    columns = {"item": np.array([9], np.int32), "score": np.ones(1, np.float32)}
    columns |= {"kind": np.zeros(1, np.uint8), "time": np.array([200])}
    state.push("user", source.name, np.zeros(1, np.int32), columns, keep=100)  # and no more of run 200
    assert source.recall(Queries.of([0]), 5).item.tolist() == [4, 3]


def test_a_run_that_is_not_later_is_refused(state: State):
    write(state, "nightly", listed([(3, 0.5)]), 100)
    with pytest.raises(ShapeError, match="not later"):
        write(state, "nightly", listed([(4, 0.5)]), 100)


def test_what_was_seen_since_is_not_proposed(state: State):
    source = Precomputed(state, "nightly")
    write(state, "nightly", listed([(3, 0.5), (4, 0.9), (5, 0.7)]), 100)
    allowed = np.ones(5, np.bool_)
    allowed[3] = False
    found = source.recall(Queries.of([0], exclude=excluded(4), allowed=allowed), 5)
    assert found.item.tolist() == [5]
    assert source.recall(Queries.of([0]), 2).item.tolist() == [4, 5]


def test_erasing_a_person_takes_their_list(state: State):
    source = Precomputed(state)
    write(state, source.name, listed([(3, 0.5)], [(4, 0.9)]), 100)
    state.erase("user", np.zeros(1, np.int32))
    assert per_query(source.recall(Queries.of([0, 1]), 5), 2) == [[], [4]]


def test_lists_go_through_a_parquet_file(state: State, tmp_path: Path):
    world = synthetic()
    catalog = stores(world)["catalog"]
    queries = world.queries()
    slate = ItemKnn().fit(world.data, seed=0).recall(queries, 7)
    files.save(tmp_path / "lists.parquet", catalog, queries.user, slate)
    assert [each.name for each in tmp_path.iterdir()] == ["lists.parquet"]
    write(state, "precomputed", files.read(tmp_path / "lists.parquet", catalog), 1)
    again = Precomputed(state).recall(queries, 7)
    assert per_query(again, len(queries)) == per_query(slate, len(queries))
    np.testing.assert_array_equal(again.columns["score"], slate.columns["score"])


def test_a_file_that_holds_no_lists_is_named(tmp_path: Path):
    catalog = stores(synthetic())["catalog"]
    with pytest.raises(NotFound, match="no such file"):
        files.read(tmp_path / "nothing.parquet", catalog)
    (tmp_path / "wrong.parquet").write_text("not a table")
    with pytest.raises(DataError, match="cannot be read as lists"):
        files.read(tmp_path / "wrong.parquet", catalog)
