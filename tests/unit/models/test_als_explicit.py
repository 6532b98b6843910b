"""Predicted ratings against the least squares written out, and their error on real folds."""

from pathlib import Path

import numpy as np

from shortlist.data.frames import to_dataset
from shortlist.data.movielens import movielens_100k as read
from shortlist.dataset import Dataset
from shortlist.eval import ratings
from shortlist.models.als_explicit import ExplicitAls
from shortlist.types import Candidates, Events, Queries, Ragged

RATE = 2


def rated(triples: list[tuple[int, int, float]], users: int = 4, items: int = 5) -> Dataset:
    user, item = (np.array([each[place] for each in triples], np.int32) for place in (0, 1))
    value, size = np.array([each[2] for each in triples], np.float32), len(triples)
    id = np.arange(2 * size, dtype=np.uint64).reshape(-1, 2)
    kind = np.full(size, RATE, np.uint8)
    return Dataset.of(Events(user, item, kind, value, np.arange(size), np.zeros(size, np.uint64), id), users, items)


SOME = rated([(0, 0, 5), (0, 1, 1), (1, 0, 4), (1, 2, 2), (2, 1, 3), (2, 3, 5), (3, 0, 2), (3, 2, 1), (3, 3, 4)])


def ask(data: Dataset, user: int, history: Ragged | None = None) -> tuple[Queries, Candidates]:
    rows = np.array([user], np.int32)
    queries = Queries.of(rows, history=history or data.histories(rows))
    return queries, Candidates(np.zeros(data.n_items, np.int32), np.arange(data.n_items, dtype=np.int32))


def test_a_persons_vector_is_the_ridge_regression_on_their_ratings() -> None:
    recipe = ExplicitAls(factors=3, iterations=3)
    model = recipe.fit(SOME, seed=0)
    queries, found = ask(SOME, 3)
    items, value = [0, 2, 3], np.array([2, 1, 4])
    factor, own = model.item[:, :3].astype(np.float64), recipe.bias * model.item[:, 3].astype(np.float64)
    design = np.c_[factor[items], np.full(3, recipe.bias)]
    reg = recipe.reg * 3**recipe.exponent * np.eye(4)
    x = np.linalg.solve(design.T @ design + reg, design.T @ (value - model.mean - own[items]))
    expected = model.mean + own + np.c_[factor, np.full(5, recipe.bias)] @ x
    np.testing.assert_allclose(model.score(queries, found), np.clip(expected, 1, 5), rtol=1e-4)


def test_the_last_rating_of_an_item_counts() -> None:
    model = ExplicitAls(factors=3).fit(SOME, seed=0)
    changed = rated([(0, 0, 1), (0, 1, 2), (0, 0, 5)])
    queries, found = ask(changed, 0)
    plain, _ = ask(rated([(0, 1, 2), (0, 0, 5)]), 0)
    np.testing.assert_allclose(model.score(queries, found), model.score(plain, found), rtol=1e-5)


def test_predictions_stay_on_the_scale_and_a_stranger_gets_the_items_own() -> None:
    model = ExplicitAls(factors=3, reg=0.01).fit(SOME, seed=0)
    for user in range(4):
        predicted = model.score(*ask(SOME, user))
        assert ((predicted >= 1) & (predicted <= 5)).all()
    nobody = Queries.of([-1])
    _, found = ask(SOME, 0)
    own = model.mean + model.bias * model.item[:, 3]
    np.testing.assert_allclose(model.score(nobody, found), np.clip(own, 1, 5), rtol=1e-5)
    assert not len(model.recall(nobody, 3))


def test_recall_orders_by_predicted_rating() -> None:
    model = ExplicitAls(factors=3).fit(SOME, seed=0)
    queries, found = ask(SOME, 2)
    recalled = model.recall(queries, 5)
    predicted = model.score(queries, found)
    np.testing.assert_allclose(np.clip(recalled.columns["score"], 1, 5), predicted[recalled.item], rtol=1e-5)


def test_error_on_real_ratings_beats_the_biases(movielens_100k: Path) -> None:
    train, test = next(ratings.folds(to_dataset(read(movielens_100k))[0], 5))
    error = {}
    for name, model in (("als", ExplicitAls().fit(train, seed=0)), ("biases", ratings.Biases.of(train))):
        gap = ratings.predict(model, train, test) - test.events.value
        error[name] = float(np.sqrt(np.mean(gap**2)))
    assert error["als"] < 0.92
    assert error["als"] < error["biases"] - 0.02
