"""Measures of probabilities against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import ShapeError
from shortlist.eval import ctr

rows = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


def columns(drawn: list[tuple[int, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score, label, group = (np.array(each) for each in zip(*drawn, strict=True))
    return score / 6, label.astype(float), group


def pairwise(score: np.ndarray, label: np.ndarray) -> float:
    """AUC by looking at every pair."""
    above = score[label > 0][:, None] - score[label == 0]
    return float(((above > 0) + 0.5 * (above == 0)).mean()) if above.size else float("nan")


@given(rows)
def test_auc_is_the_share_of_pairs_in_order(drawn: list[tuple[int, bool, int]]) -> None:
    score, label, group = columns(drawn)
    np.testing.assert_allclose(ctr.auc(score, label), pairwise(score, label))
    times = group + 1
    np.testing.assert_allclose(ctr.auc(score, label, times), pairwise(score.repeat(times), label.repeat(times)))


@given(rows)
def test_gauc_is_the_mean_over_people_by_their_rows(drawn: list[tuple[int, bool, int]]) -> None:
    score, label, group = columns(drawn)
    value, count = ctr.auc_by_group(score, label, group)
    each = [pairwise(score[group == one], label[group == one]) for one in np.unique(group)]
    np.testing.assert_allclose(value, each)
    known = ~np.isnan(each)
    expected = np.average(np.array(each)[known], weights=count[known]) if known.any() else np.nan
    np.testing.assert_allclose(ctr.gauc(score, label, group), expected)


def test_log_loss_and_reliability_are_what_their_definitions_say() -> None:
    chance = np.random.default_rng(0)
    said = chance.random(1000)
    label = (chance.random(1000) < said).astype(float)
    expected = -np.mean([np.log(p) if y else np.log(1 - p) for p, y in zip(said, label, strict=True)])
    assert ctr.log_loss(said, label) == pytest.approx(expected)
    assert np.isfinite(ctr.log_loss(np.array([0.0, 1.0]), np.array([1.0, 0.0])))
    order = np.argsort(said)
    curve = ctr.reliability(said, label, 10)
    bins = order.reshape(10, 100)
    np.testing.assert_allclose(curve.said, said[bins].mean(axis=1))
    np.testing.assert_allclose(curve.came, label[bins].mean(axis=1))
    assert curve.error == pytest.approx(np.abs(said[bins].mean(axis=1) - label[bins].mean(axis=1)).mean())


def test_who_says_the_truth_is_calibrated_and_who_exaggerates_is_not() -> None:
    chance = np.random.default_rng(1)
    truth = chance.beta(1, 5, 100_000)
    label = (chance.random(100_000) < truth).astype(float)
    assert ctr.reliability(truth, label).error < 0.005
    assert ctr.reliability(np.minimum(2 * truth, 1), label).error > 0.1


def test_intervals_are_paired_and_hold_the_truth() -> None:
    chance = np.random.default_rng(2)
    group = chance.integers(0, 200, 4000)
    truth = chance.random(4000)
    label = (chance.random(4000) < truth).astype(float)
    worse = np.clip(truth + chance.normal(0, 0.2, 4000), 0.001, 0.999)
    found = ctr.measured({"truth": truth, "worse": worse}, label, group)
    for name, score in (("truth", truth), ("worse", worse)):
        assert found[name, "auc"].value == pytest.approx(ctr.auc(score, label))
        assert found[name, "gauc"].value == pytest.approx(ctr.gauc(score, label, group))
        assert found[name, "log-loss"].value == pytest.approx(ctr.log_loss(score, label))
        assert found[name, "calibration-error"].value == pytest.approx(ctr.reliability(score, label).error)
        assert found[name, "auc"].low < found[name, "auc"].value < found[name, "auc"].high
    gap = found["truth - worse", "auc"]
    assert gap.sign == 1
    assert gap.high - gap.low < found["truth", "auc"].high - found["truth", "auc"].low
    assert found["truth", "auc"].low < 5 / 6 < found["truth", "auc"].high


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\), labels \(3,\)"):
        ctr.auc(np.zeros(2), np.zeros(3))
    with pytest.raises(ShapeError, match="must be numbers"):
        ctr.log_loss(np.array([np.nan]), np.zeros(1))
    assert np.isnan(ctr.auc(np.zeros(2), np.zeros(2)))
