"""The learned blend: never worse than its best source, equal to a naive sum, the same for one and for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.errors import ConfigError
from shortlist.rank import weighted
from shortlist.rank.weighted import ZBlend, ZBlendModel
from shortlist.types import Candidates, Queries


def table(sizes, seed, sources=3, **columns):
    """Random candidates with gaps, and labels that the first source knows best."""
    chance = np.random.default_rng(seed)
    query = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    truth = chance.normal(size=len(query))
    known = {}
    for number in range(sources):
        noisy = truth + (1 + number) * chance.normal(size=len(query))
        noisy[chance.random(len(query)) < 0.3] = np.nan
        known[f"s{number}"] = np.round(noisy, 1).astype(np.float32)
    label = (truth + chance.normal(size=len(query)) > 1.8).astype(np.float32)
    return Candidates(query, np.arange(len(query), dtype=np.int32), {**known, **columns}), label


def naive_ndcg(query, score, label, depth):
    total = []
    for b in np.unique(query[label > 0]):
        rows = np.flatnonzero(query == b)
        if len(rows) < 2:
            continue
        ranked = sorted(rows, key=lambda row: (-score[row], row))
        gain = sum(label[row] / np.log2(place + 2) for place, row in enumerate(ranked[:depth]))
        total.append(gain / sum(1 / np.log2(place + 2) for place in range(min(depth, int(label[rows].sum())))))
    return float(np.mean(total)) if total else 0.0


def naive_score(found, model):
    together, alone, spoken = np.zeros(len(found)), np.zeros(len(found)), np.zeros(len(found), bool)
    heaviest = model.columns[int(np.argmax(np.abs(model.weight)))]
    for name, weight, bend, worth in zip(model.columns, model.weight, model.bend, model.alone, strict=True):
        column = found.columns.get(f"score.{name}", found.columns.get(name))
        for b in np.unique(found.query):
            rows = found.query == b
            mine = column[rows].astype(float)
            known = mine[~np.isnan(mine)]
            if not len(known):
                continue
            z = (mine - known.mean()) / (known.std() if known.std() > 1e-12 else 1)
            z = np.where(np.isnan(z), np.nanmin(z), z)
            together[rows] += weight * z + bend * np.maximum(z, 0) ** 2
            alone[rows] += worth * z
            spoken[rows] |= name == heaviest and bool(z.any())
    return np.where(spoken, together, alone)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_learned_blend_is_no_worse_than_its_best_source(sizes, seed):
    found, label = table(sizes, seed)
    first = np.flatnonzero(np.diff(found.query, prepend=-1))
    for number in range(3):  # each source speaks in every query
        found.columns[f"s{number}"][first] = 9
        found.columns[f"s{number}"][first[np.array(sizes) > 1] + 1] = -9
    model = ZBlend(depth=5).learn(found, label, seed=0)
    queries = Queries.of(np.arange(len(sizes)))
    ours = naive_ndcg(found.query, model.score(queries, found), label, 5)
    for number in range(3):
        one = np.eye(3, dtype=np.float32)[number]
        alone = ZBlendModel(("s0", "s1", "s2"), one, np.zeros(3, np.float32), one).score(queries, found)
        assert ours >= naive_ndcg(found.query, alone, label, 5) - 1e-6


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 1000))
@settings(deadline=None, max_examples=40)
def test_score_is_the_naive_sum(sizes, seed):
    found, _ = table(sizes, seed)
    model = ZBlendModel(("s0", "s2"), np.float32([1, -0.5]), np.float32([0.2, 0.1]), np.float32([0.3, 0.1]))
    score = model.score(Queries.of(np.arange(len(sizes))), found)
    np.testing.assert_allclose(score, naive_score(found, model), atol=1e-4)
    for b in range(len(sizes)):
        mine = found.take(found.query == b)
        alone = Candidates(np.zeros(len(mine), np.int32), mine.item, mine.columns)
        np.testing.assert_array_equal(model.score(Queries.of([0]), alone), score[found.query == b])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 1000), st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_pairs_measure_ndcg(sizes, seed, depth):
    found, label = table(sizes, seed)
    value = np.round(np.random.default_rng(seed).normal(size=(1, len(found)))).astype(np.float32)  # with ties
    pairs = weighted._Pairs.of(value, found.query, label > 0, depth, 0)
    assert pairs.ndcg(pairs.ahead[0]) == pytest.approx(naive_ndcg(found.query, value[0], label, depth))


def test_two_half_informed_sources_beat_each_alone():
    found, label = table([40] * 200, seed=4, sources=2)
    model = ZBlend().learn(found, label, seed=0)
    queries = Queries.of(np.arange(200))
    fresh, taken = table([40] * 200, seed=5, sources=2)
    blend = naive_ndcg(fresh.query, model.score(queries, fresh), taken, 20)
    for name in ("s0", "s1"):
        assert blend > naive_ndcg(fresh.query, np.nan_to_num(fresh.columns[name], nan=-9), taken, 20) + 0.01
    assert np.abs(np.append(model.weight, model.bend)).max() == 1


def test_completed_scores_take_the_place_of_what_was_proposed():
    found, label = table([30] * 20, seed=1)
    truth = np.where(label > 0, np.float32(9), np.float32(0))
    found = found.with_columns({"score.s2": truth, "score.extra": truth, "item.year": truth, "score": truth})
    model = ZBlend().learn(found, label, seed=0)
    assert model.columns == ("s0", "s1", "s2", "extra")
    score = model.score(Queries.of(np.arange(20)), found)
    assert naive_ndcg(found.query, score, label, 20) == 1


def test_somebody_new_gets_the_popular_first_whatever_corrects_the_others():
    """Of somebody new only popularity knows anything; a negative weight beside a better source is no verdict on it."""
    chance = np.random.default_rng(0)
    query, known = np.repeat(np.arange(300, dtype=np.int32), 20), np.float32(chance.normal(size=6000))
    popular = np.float32(known + chance.normal(size=6000))  # the better source, noisier
    label = (known - 0.1 * popular > 1.7).astype(np.float32)
    late = np.where(chance.random(6000) < 0.3, chance.random(6000), np.nan).astype(np.float32)
    columns = {"model": known, "popular": popular, "fresh": late}
    model = ZBlend().learn(Candidates(query, np.arange(6000, dtype=np.int32), columns), label, seed=0)
    assert model.weight[1] < 0
    silent = np.full(4, np.nan, np.float32)
    new = {"model": silent, "popular": np.float32([9, 3, 1, np.nan]), "fresh": np.float32([np.nan, np.nan, np.nan, 0])}
    found = Candidates(np.zeros(4, np.int32), np.arange(4, dtype=np.int32), new)
    assert np.argsort(-model.score(Queries.of([0]), found), kind="stable").tolist() == [0, 1, 2, 3]


def test_absent_source_says_nothing():
    found, _ = table([5, 5], seed=2)
    both = ZBlendModel(("s0", "gone"), np.float32([1, 1]), np.float32([0, 0]), np.float32([1, 1]))
    one = ZBlendModel(("s0",), np.float32([1]), np.float32([0]), np.float32([1]))
    queries = Queries.of([0, 1])
    np.testing.assert_array_equal(both.score(queries, found), one.score(queries, found))


def test_learning_draws_whole_queries_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(weighted, "PAIRS", 400)
    found, label = table([20] * 100, seed=3)
    pairs = weighted._Pairs.of(found.columns["s0"][None], found.query, label > 0, 5, 0)
    assert 0 < pairs.ahead.shape[1] <= 400
    first, again = (ZBlend().learn(found, label, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first.weight, again.weight)


def test_learning_from_no_label_and_from_no_source():
    found, label = table([5, 5], seed=0)
    model = ZBlend().learn(found, np.zeros_like(label), seed=0)
    assert np.isfinite(model.score(Queries.of([0, 1]), found)).all()
    silent = found.with_columns({"s0": np.full(len(found), np.nan, np.float32)})
    assert len(np.unique(model.score(Queries.of([0, 1]), silent))) > 2  # what is still said makes an order
    with pytest.raises(ConfigError, match="carry no column of a source to blend"):
        ZBlend().learn(Candidates(found.query, found.item, {"item.year": label}), label, seed=0)
