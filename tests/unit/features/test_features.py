"""What features say, where they say nothing, and that they follow the catalog."""

import numpy as np
import pytest

from shortlist.dataset import DAY
from shortlist.errors import ConfigError
from shortlist.features.item import ItemColumns
from shortlist.features.recency import Recency
from shortlist.features.scores import ModelScores
from shortlist.rank.fuse import ReciprocalRank
from shortlist.stores.embedded import Embedded
from shortlist.types import HISTORY, Candidates, Queries, Ragged

HOUR = DAY // 24
NOW = 1000 * DAY + 6 * HOUR
FOUND = Candidates(np.int32([0, 0, 0, 1]), np.int32([0, 1, 7, 0]), {"als": np.float32([1, np.nan, 2, 3])})


@pytest.fixture
def catalog():
    with Embedded.memory() as stores:
        stores.catalog.rows("item", ["a", "b"], create=True)
        yield stores.catalog


def put(catalog, rows, **columns):
    catalog.put("item", np.array(rows, np.int32), columns)


def test_model_scores_complete_a_source_and_leave_its_column():
    columns = ModelScores({"als": ReciprocalRank()}).columns(Queries.of([0, 1]), FOUND)
    assert list(columns) == ["score.als"]
    assert not np.isnan(columns["score.als"]).any()
    assert np.isnan(FOUND.columns["als"]).sum() == 1


def test_item_columns_are_numbers_with_gaps_and_follow_the_catalog(catalog):
    put(catalog, [0, 1], year=np.array([1999.0, np.nan]), new=np.array([True, False]))
    feature = ItemColumns(catalog, ("year", "new"))
    columns = feature.columns(Queries.of([0, 1]), FOUND)
    np.testing.assert_array_equal(columns["item.year"], np.float32([1999, np.nan, np.nan, 1999]))
    np.testing.assert_array_equal(columns["item.new"], np.float32([1, 0, np.nan, 1]))
    put(catalog, [1], year=np.array([2001.0]))
    assert feature.columns(Queries.of([0, 1]), FOUND)["item.year"][1] == 2001


def test_item_columns_refuse_what_is_no_number(catalog):
    put(catalog, [0], added=np.array([5]))
    with pytest.raises(ConfigError) as caught:
        ItemColumns(catalog, ("added",)).columns(Queries.of([0]), FOUND)
    assert str(caught.value) == "features.item: names: column 'added' of the items is a time, not a number or a flag"
    assert caught.value.hint == "the age of a time column is in features.recency"


def test_recency_counts_from_the_time_of_the_query(catalog):
    put(catalog, [0], added=np.array([NOW - 3 * DAY]))
    events = {
        "item": [1, 0, 1, 5],
        "kind": [0] * 4,
        "value": [1] * 4,
        "weight": [1] * 4,
        "time": [NOW - 9 * HOUR, NOW - 8 * HOUR, NOW - 7 * HOUR, NOW - 2 * HOUR],
    }
    nothing = {name: [] for name in HISTORY}
    history = Ragged.of([events, nothing], HISTORY)
    queries = Queries.of([0, 1], history=history, time=np.array([NOW, NOW + DAY]))
    columns = Recency(catalog, "added").columns(queries, FOUND)
    np.testing.assert_allclose(columns["recency.age"], [3, np.nan, np.nan, 4])
    np.testing.assert_allclose(columns["recency.last"], [2, 2, 2, np.nan])
    np.testing.assert_array_equal(columns["recency.met"], np.float32([3, 2, np.nan, np.nan]))
    np.testing.assert_allclose(columns["recency.hour"], [6, 6, 6, 6])


def test_recency_wants_a_time(catalog):
    put(catalog, [0], year=np.array([1999.0]))
    with pytest.raises(ConfigError, match="column 'year' of the items is a number, not a time"):
        Recency(catalog, "year").columns(Queries.of([0, 1]), FOUND)
