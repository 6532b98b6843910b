"""Models of ratings: they find planted factors, facts and drift, solve people exactly, and know what they cannot."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import ops
from shortlist.dataset import DAY, Dataset
from shortlist.errors import ConfigError, DataError, ShapeError
from shortlist.eval import ratings
from shortlist.models.bayesian_fm import BayesianFm
from shortlist.models.biased_mf import BiasedMf
from shortlist.models.rating import RatingModel, Scale, ratings_of
from shortlist.models.svdpp import SvdPp
from shortlist.models.timesvd import TimeSvd, TimeSvdModel
from shortlist.testing.world import synthetic
from shortlist.types import Candidates, Columns, Events, Queries, Ragged

RATE, VIEW = 2, 0
QUICK = BayesianFm(factors=6, sweeps=80, warmup=30, samples=10)
RECIPES = {
    "biased-mf": BiasedMf(factors=6, reg=0.03),
    "svd++": SvdPp(factors=6, reg=0.03),
    "timesvd++": TimeSvd(factors=6, reg=0.03),
    "bayesian-fm": QUICK,
}
every = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


def dataset(
    user: Any, item: Any, value: Any, n_users: int, n_items: int, time: Any = None, kind: int = RATE, **facts: Columns
) -> Dataset:
    user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
    value, kinds = np.asarray(value, np.float32), np.full(len(user), kind, np.uint8)
    time = np.arange(len(user), dtype=np.int64) * DAY // 8 if time is None else np.asarray(time, np.int64)
    ids = ops.event_ids(user, item, kinds, value, time)
    events = Events(user, item, kinds, value, time, np.zeros(len(user), np.uint64), ids)
    return Dataset.of(events, n_users, n_items, **facts)


def planted(seed: int = 0, users: int = 120, items: int = 80, share: float = 0.4) -> tuple[Dataset, Dataset]:
    """Train and test of ratings that are 3 + biases + two factors + a little noise."""
    chance = np.random.default_rng(seed)
    p, q = chance.normal(0, 0.8, (users, 2)), chance.normal(0, 0.8, (items, 2))
    truth = 3 + chance.normal(0, 0.4, (users, 1)) + chance.normal(0, 0.4, items) + p @ q.T
    user, item = np.nonzero(chance.random((users, items)) < share)
    mixed = chance.permutation(len(user))
    user, item = user[mixed], item[mixed]
    value = truth[user, item] + chance.normal(0, 0.2, len(user))
    cut = len(user) * 4 // 5
    return tuple(dataset(user[part], item[part], value[part], users, items) for part in (slice(cut), slice(cut, None)))


def rmse(model: Any, train: Dataset, test: Dataset) -> float:
    gap = ratings.predict(model, train, test) - test.events.value
    return float(np.sqrt(np.mean(gap * gap)))


@every
def test_planted_factors_are_found(recipe: Any):
    train, test = planted()
    error = rmse(recipe.fit(train, seed=0), train, test)
    assert error < 0.5 * rmse(ratings.Biases.of(train), train, test)
    assert error < 0.45  # the noise is 0.2


@every
def test_the_generated_world_is_predicted_better_than_by_biases(recipe: Any):
    data = synthetic(users=200, items=120, events=12_000).data
    data = data.only(data.events.kind == RATE)
    train, test = next(ratings.folds(data, 5))
    steady = recipe if isinstance(recipe, BayesianFm) else replace(recipe, reg=0.1, reg_bias=0.3, epochs=100)
    assert rmse(steady.fit(train, seed=0), train, test) < rmse(ratings.Biases.of(train), train, test)


@every
def test_without_ratings_an_item_is_predicted_by_what_is_known_of_it(recipe: Any):
    train, _ = planted()
    model = recipe.fit(train, seed=0)
    nobody = Queries.of([-1, train.n_users + 3])
    found = Candidates(np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32))
    score = model.score(nobody, found)
    np.testing.assert_allclose(score[:2], score[2:], rtol=1e-5)
    mean = [train.events.value[train.events.item == item].mean() for item in (0, 1)]
    assert np.abs(score[:2] - mean).max() < 0.5
    assert not len(model.recall(nobody, 5))


@every
def test_there_is_no_opinion_of_items_beyond_training(recipe: Any):
    train, _ = planted()
    model = recipe.fit(train, seed=0)
    queries = Queries.of([0], history=train.histories(np.array([0], np.int32)), time=train.now)
    found = Candidates(np.zeros(3, np.int32), np.array([0, -1, train.n_items], np.int32))
    assert np.isnan(model.score(queries, found)).tolist() == [False, True, True]


@every
def test_predictions_stay_on_the_scale_and_lists_are_ordered_by_them(recipe: Any):
    train, _ = planted()
    model = recipe.fit(train, seed=0)
    people = np.arange(20, dtype=np.int32)
    queries = Queries.of(people, history=train.histories(people), time=train.now)
    found = model.recall(queries, train.n_items)
    assert len(found) == 20 * train.n_items
    score = model.score(queries, found)
    scale = ratings_of(train)[0]
    assert score.min() >= np.float32(scale.low)
    assert score.max() <= np.float32(scale.high)
    np.testing.assert_allclose(scale.clip(found.columns["score"]), score, rtol=1e-4)


@every
def test_new_ratings_count_at_once(recipe: Any):
    train, _ = planted()
    model = recipe.fit(train, seed=0)
    someone = np.array([3], np.int32)
    found = Candidates(np.zeros(train.n_items, np.int32), np.arange(train.n_items, dtype=np.int32))
    before = train.histories(someone)
    columns = {name: column.copy() for name, column in before.columns.items()}
    columns["value"] = 6 - columns["value"]
    turned = Ragged(before.ptr, columns)
    plain, other = (model.score(Queries.of(someone, history=each, time=train.now), found) for each in (before, turned))
    assert np.corrcoef(plain, other)[0, 1] < 0.5


@every
def test_equal_ratings_are_predicted_as_they_are(recipe: Any):
    data = dataset([0, 0, 1, 2], [0, 1, 1, 2], [4, 4, 4, 4], 3, 4)
    assert ratings.predict(recipe.fit(data, seed=0), data, data).tolist() == [4, 4, 4, 4]


@every
def test_one_rating_and_none_are_enough(recipe: Any):
    one = dataset([1], [2], [3], 3, 4)
    assert ratings.predict(recipe.fit(one, seed=0), one, one).tolist() == [3]
    none = dataset([0], [0], [1], 2, 2, kind=VIEW)
    model = recipe.fit(none, seed=0)
    assert np.isfinite(ratings.predict(model, none, dataset([0], [1], [4], 2, 2))).all()
    assert not len(model.recall(Queries.of([0], history=none.histories(np.array([0], np.int32))), 3))


@every
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_rating_that_is_no_number_is_refused(recipe: Any, value: float):
    data = dataset([0, 1, 1], [0, 0, 1], [4, value, 3], 2, 2)
    with pytest.raises(DataError, match="1 of 3 ratings are not finite numbers") as raised:
        recipe.fit(data, seed=0)
    assert "leave them out" in raised.value.hint


def test_only_the_last_rating_of_an_item_counts():
    history = Ragged.of(
        [
            {
                "item": [1, 0, 1, 9, 2],
                "kind": [RATE, RATE, RATE, RATE, VIEW],
                "value": [1, 2, 3, 4, 5],
                "time": [1, 2, 3, 4, 5],
            },
            {"item": [1], "kind": [RATE], "value": [np.nan], "time": [6]},
            {"item": [-1, 2], "kind": [RATE, RATE], "value": [1, 5], "time": [7, 8]},
        ],
        {"item": np.int32, "kind": np.uint8, "value": np.float32, "time": np.int64},
    )
    rated = Scale(RATE, 1, 5, 3, 1).rated(history, 3)
    assert rated.ptr.tolist() == [0, 2, 2, 3]
    assert rated["item"].tolist() == [0, 1, 2]
    assert rated["score"].tolist() == [2, 3, 5]
    assert rated["time"].tolist() == [2, 3, 8]


def by_hand(model: RatingModel, user: int, history: Ragged) -> np.ndarray:
    """(I,) a person's predictions, sample by sample, by the textbook."""
    K, columns = model.factors, model.columns
    rated = model.scale.rated(history, len(model.item))
    row, total = rated["item"], np.zeros(len(model.item))
    for sample in range(len(model.mean)):
        part = slice(sample * columns, (sample + 1) * columns)
        item, base = model.item[:, part].astype(np.float64), model.start[0, part].astype(np.float64)
        if len(model.implied) and len(row):
            base = base + model.implied[row][:, part].sum(axis=0) / len(row) ** 0.5
        if 0 <= user < len(model.known):
            own = slice(model.known.ptr[user], model.known.ptr[user + 1])
            base = base + model.known["share"][own] @ model.facts[model.known["code"][own]][:, part]
        free = [*range(K), K + 1]
        left = (rated["score"] - model.scale.mean) / model.scale.deviation - model.mean[sample] - item[row] @ base
        reg = model.reg[sample] * max(len(row), 1) ** model.exponent
        design = item[row][:, free]
        base[free] += np.linalg.solve(design.T @ design + reg * np.eye(K + 1), design.T @ left)
        total += model.mean[sample] + item @ base
    predicted = model.scale.mean + model.scale.deviation * total / len(model.mean)
    return np.clip(predicted, model.scale.low, model.scale.high)


@pytest.mark.parametrize("name", ["biased-mf", "svd++", "bayesian-fm"])
def test_a_person_is_the_least_squares_solution_written_out(name: str):
    world = synthetic()
    model = RECIPES[name].fit(world.data, seed=0)
    queries = world.queries(np.arange(5))
    items = world.data.n_items
    found = Candidates(np.repeat(np.arange(5, dtype=np.int32), items), np.tile(np.arange(items, dtype=np.int32), 5))
    score = model.score(queries, found).reshape(5, items)
    for user in range(5):
        np.testing.assert_allclose(score[user], by_hand(model, user, queries.history.take(np.array([user]))), rtol=2e-3)


def test_more_people_than_are_solved_at_once():
    world = synthetic()
    model = RECIPES["svd++"].fit(world.data, seed=0)
    many = np.tile(np.arange(60, dtype=np.int32), 10)
    found = Candidates(np.arange(600, dtype=np.int32), np.full(600, 7, np.int32))
    score = model.score(world.queries(many), found).reshape(10, 60)
    np.testing.assert_allclose(score, np.tile(score[0], (10, 1)), rtol=1e-5)


def told(seed: int = 0) -> tuple[Dataset, Dataset]:
    """Women love what is new, men what is old; each person rates three of forty films."""
    chance = np.random.default_rng(seed)
    woman, new = np.arange(400) % 2 == 0, np.arange(40) % 2 == 0
    user = np.repeat(np.arange(400), 3)
    item = chance.integers(0, 40, len(user))
    value = np.where(woman[user] == new[item], 4.5, 1.5) + chance.normal(0, 0.3, len(user))
    users = {"gender": np.where(woman, "F", "M").astype(object)}
    items = {"year": np.where(new, 2000.0, 1950.0)}
    data = dataset(user, item, value, 400, 40, users=users, items=items)
    known = data.events.user < 300
    return data.only(known), data.only(~known)


def test_facts_tell_of_people_who_rated_nothing():
    train, test = told()
    model = QUICK.fit(train, seed=0)
    assert rmse(model, train, test) < 0.6
    blind = QUICK.fit(replace(train, users={}, items={}), seed=0)
    assert rmse(blind, train, test) > 1
    queries = Queries.of([398])
    found = model.recall(queries, 5)
    assert (found.item % 2 == 0).all()
    assert len(found) == 5


def test_facts_can_be_chosen():
    train, test = told()
    assert rmse(replace(QUICK, people=("gender",), items=("year",)).fit(train, seed=0), train, test) < 0.6
    assert rmse(replace(QUICK, people=("nothing",)).fit(train, seed=0), train, test) > 1
    assert rmse(replace(QUICK, least=1000).fit(train, seed=0), train, test) > 1


def test_what_people_choose_to_rate_says_something():
    """Two camps that rate different films, and give films of their own camp more: a count of what was rated tells."""
    chance = np.random.default_rng(0)
    camp = np.arange(300) % 2
    user = np.repeat(np.arange(300), 12)
    own = chance.random(len(user)) < 0.8
    item = chance.integers(0, 30, len(user)) * 2 + np.where(own, camp[user], 1 - camp[user])
    value = np.where(item % 2 == camp[user], 4.0, 2.0) + chance.normal(0, 1.2, len(user))
    data = dataset(user, item, value, 300, 60)
    train, test = next(ratings.folds(data, 4))
    error = {
        name: rmse(RECIPES[name].fit(train, seed=0), train, test) for name in ("biased-mf", "svd++", "bayesian-fm")
    }
    assert error["svd++"] < error["biased-mf"] - 0.02
    assert error["bayesian-fm"] < error["svd++"]


def drifting() -> tuple[Dataset, Dataset]:
    """Films whose fame falls from 4.5 to 1.5 in a year, half of them the other way round."""
    chance = np.random.default_rng(0)
    user, item = (chance.integers(0, size, 8000) for size in (200, 20))
    time = np.sort(chance.integers(0, 365, 8000)) * DAY
    passed = time / (365 * DAY)
    value = np.where(item % 2 == 0, 4.5 - 3 * passed, 1.5 + 3 * passed) + chance.normal(0, 0.3, 8000)
    data = dataset(user, item, value, 200, 20, time=time)
    held = np.arange(8000) % 5 == 0
    return data.only(~held), data.only(held)


def test_a_question_is_answered_for_its_time():
    train, _ = drifting()
    model = TimeSvd(factors=2, bins=12, shrink=1).fit(train, seed=0)
    someone = np.zeros(2, np.int32)
    queries = Queries.of(someone, history=train.histories(someone), time=np.array([10, 355]) * DAY)
    found = Candidates(np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 1], np.int32))
    early_even, early_odd, late_even, late_odd = model.score(queries, found)
    assert early_even > early_odd + 1.5
    assert late_odd > late_even + 1.5
    later = Queries.of(someone[:1], history=train.histories(someone[:1]), time=10_000 * DAY)
    np.testing.assert_allclose(model.score(later, found.take([0, 1])), [late_even, late_odd], atol=0.5)


def test_a_persons_taste_may_drift():
    """Everybody goes over from films of one kind to those of the other: only drift of vectors can tell."""
    chance = np.random.default_rng(1)
    user, item = (chance.integers(0, size, 20_000) for size in (200, 40))
    time = np.sort(chance.integers(0, 365, 20_000)) * DAY
    turn = np.where(user % 2 == 0, 1, -1) * np.where(item % 2 == 0, 1, -1) * np.where(time > 182 * DAY, 1, -1)
    data = dataset(user, item, 3 + turn + chance.normal(0, 0.2, 20_000), 200, 40, time=time)
    recipe = TimeSvd(factors=4, reg=0.02, reg_drift=0.02)
    model = recipe.fit(data, seed=0)
    people = np.array([0, 0, 1, 1], np.int32)
    queries = Queries.of(people, history=data.histories(people), time=np.array([20, 345, 20, 345]) * DAY)
    found = Candidates(np.repeat(np.arange(4, dtype=np.int32), 2), np.tile(np.array([0, 1], np.int32), 4))
    even, odd = model.score(queries, found).reshape(4, 2).T
    assert (np.sign(even - odd) == [-1, 1, 1, -1]).all()
    assert np.abs(even - odd).min() > 1


@every
@given(st.integers(-10, 20), st.floats(-1, 1))
@settings(max_examples=10)
def test_the_unit_of_ratings_does_not_matter(recipe: Any, power: int, shift: float):
    train, test = planted(users=20, items=15)
    unit = 2.0**power
    other = replace(
        train, events=replace(train.events, value=np.float32(unit) * (train.events.value + np.float32(shift)))
    )
    recipe = replace(recipe, sweeps=8, warmup=2, samples=3) if isinstance(recipe, BayesianFm) else recipe
    plain, scaled = (ratings.predict(recipe.fit(each, seed=0), each, test) for each in (train, other))
    np.testing.assert_allclose(scaled / unit, plain + shift, atol=0.01)


def test_a_chain_is_repeated_by_its_seed_alone():
    train, _ = planted(users=30, items=20)
    first, again, other = (QUICK.fit(train, seed=seed).item for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_noisy_people_are_believed_less():
    """Half of the people rate at random: an item's bias is what the others say."""
    chance = np.random.default_rng(0)
    user, item = np.repeat(np.arange(100), 20), np.tile(np.arange(20), 100)
    noisy = user % 2 == 0
    value = np.where(noisy, chance.choice([-7.0, 13.0], 2000), 3 + (item % 4 - 1.5) + chance.normal(0, 0.05, 2000))
    data = dataset(user, item, value, 100, 20)
    truth = 3 + (np.arange(20) % 4 - 1.5)
    stranger, found = Queries.of([-1]), Candidates(np.zeros(20, np.int32), np.arange(20, dtype=np.int32))
    gap = {
        freedom: np.abs(replace(QUICK, freedom=freedom).fit(data, seed=0).score(stranger, found) - truth).mean()
        for freedom in (1.0, 1e6)
    }
    assert gap[1.0] < 0.5 * gap[1e6]


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"warmup": -1}, {"samples": 0}, {"sweeps": 20, "warmup": 15, "samples": 6}]
)
def test_a_chain_that_cannot_be_run_is_refused(wrong: dict[str, int]):
    with pytest.raises(ConfigError, match="samples"):
        BayesianFm(**wrong)


def test_a_window_without_bins_is_refused():
    with pytest.raises(ConfigError, match="bins is 0"):
        TimeSvd(bins=0)


def test_models_whose_arrays_do_not_fit_are_refused():
    world = synthetic()
    model = RECIPES["bayesian-fm"].fit(world.data, seed=0)
    with pytest.raises(ShapeError, match="10 samples of 6 factors"):
        replace(model, start=model.start[:, :-1])
    timed = RECIPES["timesvd++"].fit(world.data, seed=0)
    assert isinstance(timed, TimeSvdModel)
    with pytest.raises(ShapeError, match="6 factors"):
        replace(timed, bins=99)
