"""The benchmark of nearest vectors: what counts as found, and the time that is read off a curve."""

import numpy as np
import pytest

from benchmarks import ann
from benchmarks.ann import Point, Question


def test_recall_counts_what_reaches_the_true_hundredth_once_and_only_where_it_is_allowed():
    vectors, asked = ann.mixture(np.random.default_rng(3), 3000, 4)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    allowed = np.arange(3000) % 2 == 0
    for mask in (np.empty(0, np.bool_), allowed):
        question = ann._question("", vectors, asked, mask, "")
        assert isinstance(question, Question)
        score = asked @ vectors.T
        score[:, ~allowed] = -np.inf if len(mask) else score[:, ~allowed]
        best = np.argsort(-score, axis=1)[:, : ann.K]
        assert question.recall(vectors, best) == 1
        half = np.where(np.arange(ann.K) < ann.K // 2, best, -1)
        assert question.recall(vectors, half) == 0.5
        assert question.recall(vectors, np.repeat(best[:, :1], ann.K, axis=1)) == 1 / ann.K
        if len(mask):
            assert question.recall(vectors, np.argsort(-(asked @ vectors.T), axis=1)[:, : ann.K]) < 1


def test_the_time_at_a_recall_lies_between_the_points_around_it():
    points = [Point(1, 0.9, 0.1, 1.0), Point(2, 0.98, 0.4, 1.0)]
    assert ann.at_recall(points, 0.94) == pytest.approx(0.2)
    assert ann.at_recall(points, 0.5) == 0.1
    assert np.isnan(ann.at_recall(points, 0.99))
