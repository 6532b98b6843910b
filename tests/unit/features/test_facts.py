"""Facts of people, the moment and texts: what they are, value by value, and where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pytest

from shortlist.dataset import DAY, Dataset
from shortlist.errors import ConfigError
from shortlist.features.moment import Moment
from shortlist.features.text import TextVectors
from shortlist.features.user import UserColumns
from shortlist.protocols import Catalog
from shortlist.stores.arrays import objects
from shortlist.stores.embedded import Embedded
from shortlist.types import Candidates, Events, Queries

NOW = 1000 * DAY
PLOTS = ["the shark and the boat", "a shark bites a boat", "love in paris", "paris my love", "", "zebra"]


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    with Embedded.memory() as stores:
        catalog = stores.catalog
        people = catalog.rows("user", ["a", "b"], create=True)
        born = np.array([NOW - 3 * DAY, -1])
        facts = {"age": np.array([30.0, np.nan]), "paid": np.array([True, False]), "joined": born}
        catalog.put("user", people, {**facts, "job": objects(["cook", ""])})
        catalog.put("item", catalog.rows("item", list("abcdef"), create=True), {"plot": objects(PLOTS)})
        yield catalog


def asked(*users: int, time: int = NOW, items: int = 1) -> tuple[Queries, Candidates]:
    owner = np.repeat(np.arange(len(users), dtype=np.int32), items)
    item = np.tile(np.arange(items, dtype=np.int32), len(users))
    return Queries.of(users, time=time), Candidates(owner, item)


def test_facts_of_people_are_numbers_with_gaps(catalog: Catalog) -> None:
    columns = UserColumns(catalog, ("age", "paid", "joined")).columns(*asked(0, 1, -1, 9))
    np.testing.assert_array_equal(columns["user.age"], np.array([30, np.nan, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(columns["user.paid"], np.array([1, 0, np.nan, np.nan], np.float32))
    np.testing.assert_array_equal(columns["user.joined"], np.array([3, np.nan, np.nan, np.nan], np.float32))
    catalog.put("user", np.array([1], np.int32), {"age": np.array([7.0])})
    assert UserColumns(catalog, ("age",)).columns(*asked(1))["user.age"].tolist() == [7]


def test_a_text_of_people_is_no_number(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="column 'job' of the users is a text"):
        UserColumns(catalog, ("job",)).columns(*asked(0))


@pytest.mark.parametrize(
    ("zone", "hour", "weekday"),
    [("UTC", 23, 6), ("Europe/Vienna", 0, 0), ("America/New_York", 18, 6), ("Asia/Kathmandu", 4, 0)],
)
def test_the_hour_is_that_of_the_zone(zone: str, hour: int, weekday: int) -> None:
    sunday = int(datetime.fromisoformat("2026-11-22T23:00:00+00:00").timestamp() * 1e6)
    columns = Moment(zone).columns(*asked(0, time=sunday))
    assert [columns["moment.hour"].tolist(), columns["moment.weekday"].tolist()] == [[hour + 2], [weekday + 2]]
    assert columns["moment.hour"].dtype == np.int32


def test_summer_time_begins_when_it_does() -> None:
    change = int(datetime.fromisoformat("2026-03-29T01:00:00+00:00").timestamp() * 1e6)
    users = np.zeros(2, np.int32)
    queries = Queries.of(users, time=np.array([change - 1, change]))
    columns = Moment("Europe/Vienna").columns(queries, Candidates(np.arange(2, dtype=np.int32), users))
    assert columns["moment.hour"].tolist() == [1 + 2, 3 + 2]


def test_a_zone_that_does_not_exist_is_refused() -> None:
    for zone in ("Moon/Base", "", "../etc/passwd"):
        with pytest.raises(ConfigError, match="no time zone"):
            Moment(zone)


def test_texts_that_say_the_same_are_near(catalog: Catalog) -> None:
    items = dict(catalog.read("item", np.arange(6, dtype=np.int32), ["plot"]))
    data = Dataset.of(Events.empty(), 2, 6, items=items)
    model = TextVectors(catalog, ("plot",), factors=2).fit(data, seed=0)
    vectors = model.columns(*asked(0, items=7))["text.plot"]
    assert vectors.shape == (7, 2)
    assert vectors.dtype == np.float32
    assert vectors[0] @ vectors[1] > 0.9 > 0.1 > vectors[0] @ vectors[2]
    assert vectors[2] @ vectors[3] > 0.9
    assert np.isnan(vectors[4:]).all()  # no text, no known word, no item
    catalog.put("item", np.array([5], np.int32), {"plot": objects(["boat, shark!"])})
    assert model.columns(*asked(0, items=6))["text.plot"][5] @ vectors[0] > 0.9


def test_texts_without_a_common_word_have_a_column_all_the_same(catalog: Catalog) -> None:
    data = Dataset.of(Events.empty(), 2, 2, items={"plot": objects(["one", "two"])})
    assert np.isnan(TextVectors(catalog, ("plot",)).fit(data, seed=0).columns(*asked(0, items=3))["text.plot"]).all()


def test_what_is_no_text_is_refused(catalog: Catalog) -> None:
    data = Dataset.of(Events.empty(), 2, 2, items={"year": np.array([1.0, 2.0])})
    with pytest.raises(ConfigError, match="column 'year' of the items is a number"):
        TextVectors(catalog, ("year",)).fit(data, seed=0)
    with pytest.raises(ConfigError, match="'plot' of the items is a column that does not exist"):
        TextVectors(catalog, ("plot",)).fit(data, seed=0)
    with pytest.raises(ConfigError, match="at least one"):
        TextVectors(catalog, ())
