"""Ratings: folds, alignment of predictions, errors by hand, the baseline."""

import math

import numpy as np
import pytest

from shortlist import ops
from shortlist.batch.steps import judge
from shortlist.config import parse
from shortlist.dataset import Dataset
from shortlist.eval import ratings
from shortlist.eval.report import html
from shortlist.stores import Stores
from shortlist.stores.embedded import Embedded
from shortlist.testing.world import synthetic
from shortlist.types import Events


def dataset(rows, users=4, items=5):
    user, item, value = (np.array(column) for column in zip(*rows, strict=True))
    user, item, value = user.astype(np.int32), item.astype(np.int32), value.astype(np.float32)
    kind, time = np.full(len(rows), 2, np.uint8), np.arange(len(rows), dtype=np.int64)
    ids = ops.event_ids(user, item, kind, value, time)
    return Dataset.of(Events(user, item, kind, value, time, np.zeros(len(rows), np.uint64), ids), users, items)


class Named:
    """Predicts user + item / 10, and nothing for item 4."""

    def score(self, queries, found):
        predicted = (queries.user[found.query] + found.item / 10).astype(np.float32)
        return np.where(found.item == 4, np.float32(np.nan), predicted)


TRAIN = dataset([(0, 0, 4), (0, 1, 2), (1, 0, 5), (2, 1, 1)])
TEST = dataset([(2, 0, 2), (0, 3, 1), (2, 3, 5), (1, 1, 1)])


def test_each_prediction_belongs_to_its_event():
    np.testing.assert_allclose(ratings.predict(Named(), TRAIN, TEST), [2.0, 0.3, 2.3, 1.1])


class Timed:
    """Predicts when it is asked, and how much it is told of."""

    def score(self, queries, found):
        return (queries.time[found.query] + queries.history.length[found.query] / 10).astype(np.float32)


def test_each_event_may_be_asked_at_its_own_time(monkeypatch):
    monkeypatch.setattr(ratings, "ASKED", 3)
    np.testing.assert_allclose(ratings.predict_in_time(Named(), TRAIN, TEST), ratings.predict(Named(), TRAIN, TEST))
    np.testing.assert_allclose(ratings.predict_in_time(Timed(), TRAIN, TEST), [0.1, 1.2, 2.1, 3.1])


def test_errors_are_clipped_and_rooted():
    found = ratings.rating_errors({"named": Named()}, TRAIN, TEST, scale=(1, 5))
    gap = np.array([0, 0, -2.7, 0.1])  # 0.3 is clipped to 1
    assert found["named"]["rmse"].value == pytest.approx(math.sqrt(np.mean(gap**2)))
    assert found["named"]["mae"].value == pytest.approx(np.abs(gap).mean())
    assert found["named"]["rmse"].low <= found["named"]["rmse"].value <= found["named"]["rmse"].high
    assert set(found) == {"biases", "named"}


def test_the_baseline_stands_in_where_a_model_is_silent():
    test = dataset([(0, 4, 3), (3, 4, 3)])
    found = ratings.rating_errors({"named": Named()}, TRAIN, test, scale=(1, 5))
    assert found["named"] == found["biases"]


def test_biases_are_the_mean_and_shrunk_offsets():
    found = ratings.Biases.of(TRAIN, shrink_item=1, shrink_user=1)
    assert found.mean == 3.0
    assert found.item[:3].tolist() == [pytest.approx((1 + 2) / 3), pytest.approx((-1 - 2) / 3), 0]
    assert found.user[1] == pytest.approx((2 - 1) / 2)
    assert ratings.predict(ratings.Biases.of(TRAIN), TRAIN, dataset([(3, 4, 1)])).tolist() == [3.0]


def test_folds_test_each_event_once_and_keep_their_seed():
    data = dataset([(user, item, 3) for user in range(4) for item in range(5)])
    tests = []
    for train, test in ratings.folds(data, 3, seed=1):
        assert len(train) + len(test) == 20
        assert 6 <= len(test) <= 7
        tests += test.events.id.tolist()
    assert sorted(tests) == sorted(data.events.id.tolist())
    again = [test.events.item.tolist() for _, test in ratings.folds(data, 3, seed=1)]
    assert again == [test.events.item.tolist() for _, test in ratings.folds(data, 3, seed=1)]
    assert again != [test.events.item.tolist() for _, test in ratings.folds(data, 3, seed=2)]


def test_an_evaluation_judges_the_models_that_predict_ratings(tmp_path):
    settings = parse(
        {
            "train": {"models": {"stars": {"use": "models.als_explicit:ExplicitAls"}}},
            "evaluate": {"ratings": ["stars"], "resamples": 50},
        },
        home=tmp_path,
    )
    world = synthetic()
    with Embedded.memory() as stores:
        stores.catalog.rows("item", [f"i{row}" for row in range(world.data.n_items)], create=True)
        opened = Stores(stores.catalog, stores.log, stores.state, stores.index, {})
        judged = judge(settings, world.data, opened)
    assert list(judged.errors) == ["biases", "stars"]
    for errors in judged.errors.values():
        assert 0 < errors["mae"].value <= errors["rmse"].value < 4
        assert errors["rmse"].low < errors["rmse"].value < errors["rmse"].high
    assert [line[0] for line in ratings.table(judged.errors)] == ["predicts ratings", "biases", "stars"]
    assert "Errors of predicted ratings" in html(judged.result, errors=judged.errors)
