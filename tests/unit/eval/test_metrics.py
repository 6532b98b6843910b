"""Metrics against trec_eval (by ir_measures), against naive code, and by hand."""

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.dataset import DAY
from shortlist.eval import metrics
from shortlist.types import Candidates, Ragged

TREC = {"recall": "R", "precision": "P", "ndcg": "nDCG", "map": "AP", "mrr": "RR", "hit": "Success"}


def lists(items):
    return Ragged.of([{"item": each} for each in items], {"item": np.int32})


def padded(items, k):
    return np.array([[*each[:k], *[-1] * (k - len(each))] for each in items], np.int32).reshape(len(items), k)


questions = st.lists(
    st.tuples(
        st.lists(st.integers(0, 15), unique=True, max_size=10),
        st.lists(st.integers(0, 15), unique=True, min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=6,
)


@given(questions, st.integers(1, 12))
def test_ranking_agrees_with_trec_eval(asked, k):
    relevant = lists([answers for _, answers in asked])
    ours = metrics.ranking(metrics.hits(padded([shown for shown, _ in asked], k), relevant), relevant.length, k)
    qrels = {str(q): {str(item): 1 for item in answers} for q, (_, answers) in enumerate(asked)}
    run = {str(q): {str(item): -float(p) for p, item in enumerate(shown)} for q, (shown, _) in enumerate(asked)}
    for name, theirs in TREC.items():
        measure = ir_measures.parse_measure(f"{theirs}@{k}")
        found = {each.query_id: each.value for each in ir_measures.iter_calc([measure], qrels, run)}
        expected = [found.get(str(q), 0.0) for q in range(len(asked))]
        np.testing.assert_allclose(ours[name], expected, atol=1e-9, err_msg=name)


@given(questions)
def test_ranking_names_are_all_answered(asked):
    relevant = lists([answers for _, answers in asked])
    ours = metrics.ranking(metrics.hits(padded([shown for shown, _ in asked], 5), relevant), relevant.length, 5)
    assert tuple(ours) == metrics.RANKING


def test_a_question_without_right_answers_has_no_figure():
    relevant = lists([[], [3]])
    figures = metrics.ranking(metrics.hits(padded([[1], [3]], 2), relevant), relevant.length, 2)
    for name, value in figures.items():
        assert math.isnan(value[0]), name
        assert value[1] == (0.5 if name == "precision" else 1.0), name


def test_an_item_shown_twice_counts_once_and_an_empty_place_never():
    hit = metrics.hits(np.array([[3, 3, -1]], np.int32), lists([[3]]))
    assert hit.tolist() == [[True, False, False]]


def test_places_cut_pad_and_keep_the_order():
    found = Candidates(np.array([0, 0, 0, 2], np.int32), np.array([5, 1, 9, 4], np.int32))
    assert metrics.places(found, 3, 2).tolist() == [[5, 1], [-1, -1], [4, -1]]


def test_novelty_is_bits_of_surprise():
    bits = metrics.novelty(padded([[0, 1], [2], []], 2), np.array([8, 2, 0]), users=8)
    assert bits[:2].tolist() == [1.0, 3.0]  # (0 + 2) / 2, and nobody counts as one of eight
    assert math.isnan(bits[2])


vector_lists = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=6), min_size=1, max_size=5)


@given(vector_lists, st.integers(0, 2**32 - 1))
def test_diversity_is_the_mean_over_pairs(shown, seed):
    vectors = (np.random.default_rng(seed).random((6, 4)) > 0.5).astype(np.float32)
    ours = metrics.diversity(padded(shown, 6), vectors)
    for mine, each in zip(ours, shown, strict=True):
        described = [vectors[item] for item in each if vectors[item].any()]
        gaps = [
            1 - float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
            for p, a in enumerate(described)
            for b in described[p + 1 :]
        ]
        assert math.isnan(mine) if not gaps else mine == pytest.approx(np.mean(gaps), abs=1e-5)


def test_serendipity_counts_hits_that_popularity_would_not_show():
    shown = padded([[1, 2, 3, 4]], 4)
    hit = metrics.hits(shown, lists([[1, 3]]))
    assert metrics.serendipity(shown, hit, padded([[1, 9, 8, 7]], 4)).tolist() == [0.25]  # 3; 1 is expected


def test_age_counts_from_the_first_event_and_leaves_unknown_out():
    born = np.array([0, 4 * DAY, -1])
    ages = metrics.age_days(padded([[0, 1], [2, 1], [2]], 2), born, np.array([10 * DAY] * 3))
    assert ages[:2].tolist() == [8.0, 6.0]
    assert math.isnan(ages[2])


def test_exposure_by_hand():
    everything = np.ones(4, np.bool_)
    even = metrics.exposure(np.array([[0, 1], [2, 3]], np.int32), everything)
    assert even == {"coverage": 1.0, "gini": 0.0, "entropy": 2.0}
    one = metrics.exposure(np.array([[0, -1], [0, -1]], np.int32), everything)
    assert one == {"coverage": 0.25, "gini": 0.75, "entropy": 0.0}
    nothing = metrics.exposure(np.full((2, 2), -1, np.int32), everything)
    assert nothing["coverage"] == 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_gini_is_half_the_relative_mean_difference(items):
    count = np.bincount(items, minlength=7)
    naive = np.abs(np.subtract.outer(count, count)).mean() / (2 * count.mean())
    ours = metrics.exposure(np.array([items], np.int32), np.ones(7, np.bool_))["gini"]
    assert ours == pytest.approx(naive)
