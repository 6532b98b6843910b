from dataclasses import replace

import numpy as np
import pytest

from shortlist.dataset import DAY, Dataset
from shortlist.errors import ConfigError
from shortlist.models.als import Als
from shortlist.protocols import Catalog
from shortlist.recall.arrivals import Arrivals
from shortlist.recall.editorial import Editorial
from shortlist.recall.explore import Explore
from shortlist.recall.fresh import Fresh
from shortlist.recall.given import Given
from shortlist.recall.ladder import Ladder
from shortlist.recall.popular import Popular
from shortlist.recall.similar import Similar
from shortlist.recall.toprated import TopRated
from shortlist.stores import open_stores
from shortlist.testing.world import checkerboard, synthetic
from shortlist.types import HISTORY, Candidates, Events, Queries, Ragged, Rows

VIEW, CLICK, RATE, HIDE = 0, 1, 2, 6
LINE = Given(np.array([4, 2, 9, 7], np.int32), np.array([4, 3, 2, 1], np.float32))


def events(rows: list[tuple[int, int, int, float, int]]) -> Events:
    """From (user, item, kind, value, time)."""
    user, item, kind, value, time = (np.array(column) for column in zip(*rows, strict=True))
    size = len(rows)
    return Events(
        user.astype(np.int32),
        item.astype(np.int32),
        kind.astype(np.uint8),
        value.astype(np.float32),
        time.astype(np.int64),
        np.zeros(size, np.uint64),
        np.zeros((size, 2), np.uint64),
    )


def ask(**given: object) -> Queries:
    return Queries.of([-1], **given)  # type: ignore[arg-type]


def items(*rows: int) -> Ragged:
    return Ragged.of([{"item": rows}], {"item": np.int32})


def moments(*items: int) -> Ragged:
    columns = {name: [1] * len(items) for name in HISTORY}
    return Ragged.of([{**columns, "item": items, "weight": [0.0] * len(items)}], HISTORY)


@pytest.fixture
def catalog():
    with open_stores(dict.fromkeys(("catalog", "log", "state", "index"), "memory:")) as stores:
        yield stores.catalog


def put(catalog: Catalog, ids: list[str], **columns: list[object]) -> Rows:
    rows = catalog.rows("item", ids, create=True)
    catalog.put("item", rows, {name: np.array(values) for name, values in columns.items()})
    return rows


def test_given_walks_past_what_may_not_be_proposed():
    allowed = np.ones(8, np.bool_)  # 9 lies beyond the mask: allowed
    allowed[2] = False
    found = LINE.recall(ask(exclude=items(4, 4, 100, -1), allowed=allowed), 2)
    assert found.item.tolist() == [9, 7]
    assert found.columns["score"].tolist() == [2, 1]


def test_given_excludes_for_each_query_its_own():
    exclude = Ragged.of([{"item": [4, 2]}, {"item": []}, {"item": [9]}], {"item": np.int32})
    found = LINE.recall(Queries.of([0, 1, 2], exclude=exclude), 2)
    assert found.query.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.item.tolist() == [9, 7, 4, 2, 4, 2]


def test_popular_counts_people_not_events():
    keen = [(0, 0, CLICK, 1, time) for time in range(20)]
    data = Dataset.of(events([*keen, (1, 1, CLICK, 1, 20), (2, 1, CLICK, 1, 21)]), 3, 2)
    found = Popular().fit(data, seed=0).recall(ask(), 2)
    assert found.item.tolist() == [1, 0]
    np.testing.assert_allclose(found.columns["score"], [2, 1], rtol=1e-6)


def test_popular_votes_fade_and_leave_the_window():
    rows = [(user, 0, CLICK, 1, 0) for user in range(3)] + [(3, 1, CLICK, 1, 40 * DAY), (4, 1, CLICK, 1, 40 * DAY)]
    data = Dataset.of(events(rows), 5, 2)
    assert Popular(half_life="").fit(data, seed=0).item.tolist() == [0, 1]
    faded = Popular(half_life="20d").fit(data, seed=0)
    assert faded.item.tolist() == [1, 0]
    np.testing.assert_allclose(faded.scores, [2, 0.75])
    assert Popular(window="30d").fit(data, seed=0).item.tolist() == [1]


def test_popular_vote_is_as_old_as_the_last_liking():
    data = Dataset.of(events([(0, 0, CLICK, 1, 0), (0, 0, CLICK, 1, 10 * DAY), (1, 1, CLICK, 1, 10 * DAY)]), 2, 2)
    np.testing.assert_allclose(Popular(half_life="1d").fit(data, seed=0).scores, [1, 1])


def test_one_click_of_today_does_not_make_all_of_long_ago_equal():
    """A server over data of 1998 that somebody uses in 2026: in float32 the old votes would all fade to 0."""
    old = [(user, item, CLICK, 1, user) for item, users in enumerate((1, 3, 2)) for user in range(users)]
    data = Dataset.of(events([*old, (0, 3, CLICK, 1, 28 * 365 * DAY)]), 3, 4)
    model = Popular().fit(data, seed=0)
    assert model.item.tolist() == [3, 1, 2, 0]
    assert np.all(np.diff(model.scores) < 0)


def test_popular_takes_views_only_where_nobody_likes_anything():
    views = [(0, 0, VIEW, 1, 0), (1, 0, VIEW, 1, 1), (0, 1, VIEW, 1, 2), (0, 2, HIDE, 1, 3)]
    assert Popular().fit(Dataset.of(events(views), 2, 3), seed=0).item.tolist() == [0, 1]
    liked = [*views, (1, 1, CLICK, 1, 4)]
    assert Popular().fit(Dataset.of(events(liked), 2, 3), seed=0).item.tolist() == [1]


def test_popular_names_a_window_it_cannot_read():
    with pytest.raises(ConfigError, match="'soon' is not a length of time"):
        Popular(window="soon").fit(synthetic().data, seed=0)


def test_ten_perfect_votes_do_not_beat_ten_thousand_good_ones():
    """13 members gave 10.0, ten thousand gave 8.5 on average; most anime stand at 7."""
    few = [(user, 0, RATE, 10, user) for user in range(13)]
    many = [(user, 1, RATE, 8 + user % 2, user) for user in range(10_000)]
    usual = [(user, 2 + user % 5, RATE, 7, user) for user in range(20_000)]
    data = Dataset.of(events([*few, *many, *usual]), 20_000, 7)
    model = TopRated().fit(data, seed=0)
    assert model.item[:2].tolist() == [1, 0]
    assert model.scores[0] == pytest.approx(8.5, abs=0.02)
    assert TopRated(prior=0).fit(data, seed=0).item[0] == 0


def test_top_rated_reads_ratings_alone():
    rows = [(0, 0, RATE, 3, 0), (0, 1, RATE, 4, 1), (1, 0, VIEW, 1, 2), (2, 0, CLICK, 99, 3), (0, 1, RATE, 5, 4)]
    model = TopRated(prior=0).fit(Dataset.of(events(rows), 3, 3), seed=0)
    assert model.item.tolist() == [1, 0]
    assert model.scores.tolist() == [5, 3]
    assert TopRated(prior=0, least=2).fit(Dataset.of(events(rows), 3, 3), seed=0).item.tolist() == []


def test_top_rated_refuses_a_negative_prior():
    with pytest.raises(ConfigError, match="must be 0 or greater"):
        TopRated(prior=-1).fit(synthetic().data, seed=0)


def test_fresh_proposes_what_was_put_a_second_ago(catalog):
    fresh = Fresh(catalog)
    put(catalog, ["old", "new"], title=["a", "b"])
    assert fresh.recall(ask(time=DAY), 1).item.tolist() == [1]
    put(catalog, ["now"], title=["c"])
    found = fresh.recall(ask(time=DAY), 5)
    assert found.item.tolist() == [2, 1, 0]
    assert found.columns["score"].tolist() == [0, -1, -2]


def test_fresh_goes_by_time_and_never_ahead_of_it(catalog):
    put(catalog, ["a", "b", "c", "d"], time=[5 * DAY, 9 * DAY, 2 * DAY, 5 * DAY])
    queries = Queries.of([0, 1, 2], time=np.array([6, 9, 1]) * DAY)
    found = Fresh(catalog).recall(queries, 2)
    assert found.query.tolist() == [0, 0, 1, 1]
    assert found.item.tolist() == [3, 0, 1, 3]
    assert found.columns["score"].tolist() == [-1, -1, 0, -4]


def test_fresh_takes_an_item_without_a_time_for_as_new_as_those_before_it(catalog):
    put(catalog, ["a", "b"], time=[5 * DAY, 3 * DAY])
    put(catalog, ["no time"], title=["c"])
    assert Fresh(catalog).recall(ask(time=9 * DAY), 3).item.tolist() == [2, 0, 1]


def test_fresh_refuses_a_column_that_is_no_time(catalog):
    put(catalog, ["a"], year=[1999.0])
    with pytest.raises(ConfigError, match="column 'year' of the items is a number, not a time"):
        Fresh(catalog, column="year").recall(ask(), 1)


def test_explore_gives_every_item_the_same_chance(catalog):
    put(catalog, [str(row) for row in range(10)], title=["x"] * 10)
    queries = Queries.of(np.zeros(5_000, np.int32), seed=np.arange(5_000, dtype=np.uint64))
    share = np.bincount(Explore(catalog).recall(queries, 3).item, minlength=10) / 5_000
    np.testing.assert_allclose(share, 0.3, atol=0.03)


def test_explore_answers_in_blocks_as_in_one(catalog, monkeypatch):
    put(catalog, [str(row) for row in range(10)], title=["x"] * 10)
    queries = Queries.of(np.zeros(7, np.int32), seed=np.arange(7, dtype=np.uint64), exclude=items_of(7))
    whole = Explore(catalog).recall(queries, 4)
    monkeypatch.setattr("shortlist.recall.explore.CELLS", 20)
    parts = Explore(catalog).recall(queries, 4)
    assert np.array_equal(whole.query, parts.query)
    assert np.array_equal(whole.item, parts.item)


def items_of(queries: int) -> Ragged:
    return Ragged(np.arange(queries + 1), {"item": np.arange(queries, dtype=np.int32)})


def test_editorial_keeps_the_order_of_the_ids_and_passes_over_unknown_ones(catalog):
    put(catalog, ["a", "b", "c"], title=["x"] * 3)
    source = Editorial(catalog, ("c", "zz", "a", "c"))
    found = source.recall(ask(), 5)
    assert found.item.tolist() == [2, 0]
    assert found.columns["score"].tolist() == [0, -1]
    put(catalog, ["zz"], title=["x"])
    assert source.recall(ask(), 5).item.tolist() == [2, 3, 0]


class Echo:
    """Proposes the history, and says so."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        history = queries.history
        score = history["weight"].astype(np.float32)
        return Candidates(history.owner, history["item"], {"score": score, "user": queries.user[history.owner]})

    def because(self, queries: Queries, found: Candidates) -> Rows:
        return queries.history["item"][queries.history.ptr[found.query]]


def test_similar_asks_about_the_context_as_nobody_in_particular():
    queries = Queries.of([3], history=moments(1, 2), context=moments(8, 9))
    found = Similar(Echo()).recall(queries, 5)
    assert found.item.tolist() == [8, 9]
    assert found.columns["score"].tolist() == [1, 1]
    assert found.columns["user"].tolist() == [-1, -1]
    assert Similar(Echo()).because(queries, found).tolist() == [8, 8]


def test_similar_never_proposes_what_is_in_view():
    assert Similar(LINE).recall(ask(context=moments(4, 9)), 5).item.tolist() == [2, 7]


def test_similar_has_no_reasons_where_its_source_has_none():
    found = LINE.recall(ask(), 3)
    assert Similar(LINE).because(ask(), found).tolist() == [-1, -1, -1]


def test_the_checkerboard_is_as_described():
    world = checkerboard(6)
    seen = world.data.matrix.toarray() > 0
    assert np.array_equal(seen | np.eye(6, dtype=bool), world.likes)
    assert not seen.diagonal().any()


def test_each_rung_fills_what_the_one_before_left_empty():
    ladder = Ladder((LINE, Given(np.array([7, 5, 4, 1], np.int32), np.ones(4, np.float32))))
    queries = Queries.of([-1, -1], exclude=Ragged.of([{"item": [2, 9]}, {"item": []}], {"item": np.int32}))
    found = ladder.recall(queries, 4)
    assert found.query.tolist() == [0] * 4 + [1] * 4
    assert found.item.tolist() == [4, 7, 5, 1, 4, 2, 9, 7]
    assert found.columns["score"].tolist() == [0, -1, -2, -3] * 2
    assert ladder.recall(queries, 9).item.tolist() == [4, 7, 5, 1, 4, 2, 9, 7, 5, 1]
    with pytest.raises(ConfigError, match="rungs is empty"):
        Ladder(())


def test_arrivals_are_what_came_after_training_newest_first():
    with open_stores({"catalog": "memory:", "log": "memory:", "state": "memory:", "index": "memory:"}) as stores:
        stores.catalog.rows("item", ["a", "b"], create=True)
        model = Arrivals(stores.catalog).fit(Dataset.of(Events.empty(), 0, 2), seed=0)
        assert len(model.recall(Queries.of([0]), 5)) == 0
        stores.catalog.rows("item", ["c", "d"], create=True)
        assert model.recall(Queries.of([0]), 5).item.tolist() == [3, 2]


def test_similar_and_the_model_itself_share_nothing_in_one_pipeline():
    world = synthetic()
    model, queries = Als(iterations=1).fit(world.data, seed=0), world.queries(np.array([3]))
    asked = replace(queries, context=queries.history.last(1))
    alone = Similar(model).recall(replace(asked), 9).item.tolist()
    model.recall(asked, 9)
    assert Similar(model).recall(asked, 9).item.tolist() == alone
