"""Opinions added up: equal to a naive mean of z-scores; an ensemble is its members, each with a seed of its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.config import Builder
from shortlist.errors import ConfigError
from shortlist.rank.combsum import CombSum, Ensemble
from shortlist.rank.gbdt import Gbdt
from shortlist.rank.logistic import Logistic
from shortlist.types import Candidates, Queries


def naive(query, column):
    """z within each query; gaps are its least; all alike = 0."""
    said = np.zeros(len(query))
    for b in np.unique(query):
        rows = query == b
        known = column[rows][~np.isnan(column[rows])]
        if len(known) and known.std() > 1e-12:
            said[rows] = (np.where(np.isnan(column[rows]), known.min(), column[rows]) - known.mean()) / known.std()
    return said


def table(sizes, seed):
    chance = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    columns = {name: np.round(chance.normal(size=len(query)), 1).astype(np.float32) for name in ("a", "b")}
    for column in columns.values():
        column[chance.random(len(query)) < 0.3] = np.nan
    columns["count.7d"] = chance.normal(size=len(query)).astype(np.float32)  # a feature, no source
    return Candidates(query, np.arange(len(query), dtype=np.int32), columns)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_a_sum_is_the_weighted_mean_of_the_standings(sizes, seed):
    found = table(sizes, seed)
    told = CombSum({"b": 3.0}).score(Queries.of(np.arange(len(sizes))), found)
    wanted = (naive(found.query, found.columns["a"]) + 3 * naive(found.query, found.columns["b"])) / 4
    np.testing.assert_allclose(told, wanted, atol=1e-4)


def test_what_a_model_says_of_every_candidate_takes_the_place_of_what_it_proposed():
    found = Candidates(
        np.zeros(3, np.int32),
        np.arange(3, dtype=np.int32),
        {"a": np.float32([1, np.nan, np.nan]), "score.a": np.float32([1, 2, 3])},
    )
    told = CombSum().score(Queries.of(np.array([0])), found)
    assert told.argsort().tolist() == [0, 1, 2]


def test_without_a_source_nothing_is_said():
    found = Candidates(np.zeros(2, np.int32), np.arange(2, dtype=np.int32), {})
    assert CombSum().score(Queries.of(np.array([0])), found).tolist() == [0, 0]
    assert CombSum().parts(Queries.of(np.array([0])), found) == []


def lesson():
    found = table([40] * 30, 5)
    label = (np.nan_to_num(found.columns["a"], nan=-1) + found.columns["count.7d"] > 1.5).astype(np.float32)
    return found, label, Queries.of(np.arange(30))


def test_an_ensemble_says_what_its_members_say_by_their_weights():
    found, label, queries = lesson()
    trees = Gbdt(trees=8, leaves=4, threads=1)
    both = Ensemble((trees, CombSum()), weights=(2.0, 1.0)).learn(found, label, seed=7)
    own = trees.learn(found, label, seed=7).score(queries, found)
    wanted = (2 * naive(found.query, own) + naive(found.query, CombSum().score(queries, found))) / 3
    np.testing.assert_allclose(both.score(queries, found), wanted, atol=1e-4)


def test_the_same_ranker_twice_is_two_of_them():
    found, label, _ = lesson()
    trees = Gbdt(trees=8, leaves=4, row_share=0.5, threads=1)
    first, second = Ensemble((trees, trees)).learn(found, label, seed=3).scorers
    assert not np.array_equal(first.leaf, second.leaf)
    assert np.array_equal(second.leaf, trees.learn(found, label, seed=4).leaf)


def test_parts_of_one_name_are_one_and_add_up():
    found, label, queries = lesson()
    trees = Gbdt(trees=8, leaves=4, row_share=0.5, threads=1)
    model = Ensemble((trees, trees, CombSum())).learn(found, label, seed=3)
    parts = model.parts(queries, found)
    assert sorted(part.name for part in parts) == ["a", "b", "base", "count.7d"]
    total = sum(part.value.astype(float) * part.weight for part in parts)
    np.testing.assert_allclose(total, model.score(queries, found), atol=1e-4)


@pytest.mark.parametrize(
    ("rankers", "weights"), [((), ()), ((CombSum(),), (1.0, 2.0)), ((CombSum(),), (0.0,)), ((CombSum(),), (-1.0,))]
)
def test_impossible_ensembles_are_refused(rankers, weights):
    with pytest.raises(ConfigError, match=r"rank\.combsum"):
        Ensemble(rankers, weights)


def test_impossible_weights_are_refused():
    with pytest.raises(ConfigError, match="numbers of 0 or more"):
        CombSum({"a": float("nan")})


def test_something_that_neither_learns_nor_scores_is_refused():
    with pytest.raises(ConfigError, match="Queries can neither learn nor score"):
        Ensemble((Queries.of(np.array([0])),))


def test_an_ensemble_is_built_from_a_table():
    rankers = [
        {"use": "rank.gbdt:Gbdt", "trees": 50},
        {"use": "rank.logistic:Logistic"},
        {"use": "rank.combsum:CombSum"},
    ]
    told = {"use": "rank.combsum:Ensemble", "rankers": rankers, "weights": [1, 1, 0.5]}
    made = Builder({}, {}, lambda component, where: component).component(told, "pipelines.home.rank")
    assert made == Ensemble((Gbdt(trees=50), Logistic(), CombSum()), (1, 1, 0.5))
