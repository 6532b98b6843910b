"""Calibration: scores become the shares that really came, and keep their order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from shortlist.errors import ConfigError
from shortlist.eval import ctr
from shortlist.rank.calibrate import Calibrated
from shortlist.types import Candidates, Queries, Scores


@dataclass(frozen=True)
class Known:
    """A ranker that learns nothing: its scorer says `power` of column "truth", NaN where it is NaN."""

    power: float = 3.0
    scale: float = 1.0

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> Known:
        return self

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return (self.scale * found.columns["truth"] ** self.power).astype(np.float32)


def world(rows: int = 60_000, seed: int = 0) -> tuple[Candidates, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.beta(2, 6, rows).astype(np.float32)
    label = (chance.random(rows) < truth).astype(np.float32)
    return Candidates(np.arange(rows, dtype=np.int32) // 5, np.arange(rows, dtype=np.int32), {"truth": truth}), label


def score(model: object, found: Candidates) -> np.ndarray:
    return model.score(Queries.of(np.zeros(int(found.query[-1]) + 1, np.int32)), found)  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["isotonic", "platt"])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_scores_become_the_shares_that_came(how: str, scale: float) -> None:
    found, label = world()
    model = Calibrated(Known(scale=scale), how=how).learn(found, label, seed=0)  # type: ignore[arg-type]
    later, truth = world(seed=1)
    raw, said = Known(scale=scale).score(None, later), score(model, later)  # type: ignore[arg-type]
    assert ((said > 0) & (said < 1)).all()
    wrong_form = how == "platt" and scale > 1  # no sigmoid of a third power is its root
    assert ctr.reliability(said, truth).error < (0.08 if wrong_form else 0.01)
    assert ctr.reliability(np.clip(raw, 0, 1), truth).error > 0.1
    assert ctr.auc(said, truth) == pytest.approx(ctr.auc(raw, truth), abs=2e-3)
    order = np.argsort(raw)
    assert (np.diff(said[order]) >= 0).all()


@pytest.mark.parametrize("how", ["isotonic", "platt"])
def test_thinned_rows_are_counted_back(how: str) -> None:
    found, label = world()
    some = (label > 0) | (np.random.default_rng(3).random(len(label)) < 0.2)
    model = Calibrated(Known(), how=how, kept=0.2).learn(found.take(some), label[some], seed=0)  # type: ignore[arg-type]
    assert ctr.reliability(score(model, found), label).error < 0.025


def test_whole_queries_are_held_out_of_the_ranker() -> None:
    seen: list[np.ndarray] = []

    @dataclass(frozen=True)
    class Watched(Known):
        def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> Known:
            seen.append(np.unique(found.query))
            return self

    found, label = world(1000)
    Calibrated(Watched(), held=0.25, latest=True).learn(found, label, seed=0)
    Calibrated(Watched(), held=0.25).learn(found, label, seed=0)
    assert seen[0].tolist() == list(range(150))
    assert len(seen[1]) == 150
    assert seen[1].max() > 190


@pytest.mark.parametrize("how", ["isotonic", "platt"])
def test_no_opinion_stays_none_and_little_is_enough(how: str) -> None:
    found, label = world(20)
    found.columns["truth"][::3] = np.nan
    model = Calibrated(Known(), how=how).learn(found, label, seed=0)  # type: ignore[arg-type]
    said = score(model, found)
    np.testing.assert_array_equal(np.isnan(said), np.isnan(found.columns["truth"]))
    alone = Calibrated(Known(), how=how).learn(found.take(np.arange(1)), label[:1], seed=0)  # type: ignore[arg-type]
    assert np.isnan(score(alone, found.take(np.arange(1)))).all()


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="'beta'"):
        Calibrated(Known(), how="beta")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="held 0"):
        Calibrated(Known(), held=0)
