"""What is told while something is learned: every turn of it, on a terminal, and nothing that changes the result."""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from shortlist import progress
from shortlist.cli.screen import Screen
from shortlist.descent import Descent
from shortlist.models.bayesian_fm import BayesianFm
from shortlist.progress import Turn, learning, tell, watched
from shortlist.rank.fm import Fm
from shortlist.rank.gbdt import Gbdt
from shortlist.rank.learning import Learning
from shortlist.testing.checks import leaves
from shortlist.testing.world import synthetic
from shortlist.types import Candidates


def rows(count: int = 400) -> tuple[Candidates, np.ndarray]:
    chance = np.random.default_rng(0)
    query, value = np.arange(count, dtype=np.int32) // 8, chance.normal(size=count).astype(np.float32)
    return Candidates(query, np.arange(count, dtype=np.int32), {"value": value}), (value > 0.8).astype(np.float32)


def test_a_turn_is_told_to_the_innermost_watcher_with_what_is_learned() -> None:
    tell("epoch", 1, 2)  # nobody listens
    outer: list[Turn] = []
    inner: list[Turn] = []
    with watched(outer.append):
        with learning("all"), learning("train.models.stars"):
            tell("sweep", 1, 3, "noise 0.9")
        with watched(inner.append):
            tell("epoch", 2, 2)
        with pytest.raises(OSError, match="away"), watched(inner.append):
            raise OSError("away")
        tell("tree", 5, 9)
    assert outer == [Turn("train.models.stars", "sweep", 1, 3, "noise 0.9"), Turn("", "tree", 5, 9, "")]
    assert inner == [Turn("", "epoch", 2, 2, "")]


def test_gibbs_sweeps_are_told_and_nothing_changes() -> None:
    told: list[Turn] = []
    recipe = BayesianFm(factors=4, sweeps=6, warmup=2, samples=2)
    with watched(told.append):
        model = recipe.fit(synthetic().data, seed=1)
    assert [(each.unit, each.done, each.most) for each in told] == [("sweep", turn, 6) for turn in range(1, 7)]
    assert all(each.note.startswith("noise ") for each in told)
    for (path, one), (_, other) in zip(leaves(model), leaves(recipe.fit(synthetic().data, seed=1)), strict=True):
        np.testing.assert_array_equal(one, other, err_msg=path)


def test_trees_are_told_with_what_held_out_queries_say() -> None:
    told: list[Turn] = []
    found, label = rows()
    with watched(told.append):
        Gbdt(trees=4, rows_in_leaf=5, threads=1).learn(found, label, seed=0)
        Gbdt(objective="binary", rows_in_leaf=5, patience=3, held=0.3, threads=1).learn(found, label, seed=0)
    assert [each.done for each in told[:4]] == [1, 2, 3, 4]
    assert all(each.unit == "tree" for each in told)
    assert told[4].note.startswith("held-out binary_logloss 0.")


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed: pip install 'shortlist[torch]'")
def test_epochs_of_networks_are_told_with_what_held_out_queries_say() -> None:
    told: list[Turn] = []
    descent = Descent(epochs=3, patience=3, batch=64, threads=1)
    with watched(told.append):
        Fm(width=4, learning=Learning(held=0.2, descent=descent)).learn(*rows(), seed=0)
        Fm(width=4, learning=Learning(held=0.0, descent=descent)).learn(*rows(), seed=0)
    assert [(each.unit, each.done, each.most) for each in told] == [("epoch", turn, 3) for turn in (1, 2, 3)] * 2
    assert all(each.note.startswith("held out 0.") for each in told[:3])
    assert not told[3].note


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: Screen, stream: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", stream)
    with screen.learning(), learning("ranker of home"):
        for epoch in (1, 2, 3):
            tell("epoch", epoch, 3, f"held out 0.{epoch}")
        screen.say("fitted")
        with learning("train.models.stars"):
            tell("sweep", 1, 200)
    assert progress._watcher.get() is None
    return str(stream.getvalue())


def test_a_terminal_shows_what_is_learned_and_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    text = shown(Screen(), Terminal(), monkeypatch)
    for said in ("ranker of home epoch", "3/3", "held out 0.3", "fitted", "sweep", "1/200"):
        assert said in text


@pytest.mark.parametrize("screen", [Screen(json=True), Screen(quiet=True)])
def test_nothing_is_shown_to_who_wants_none(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(screen, Terminal(), monkeypatch) == ""


def test_a_file_holds_what_was_said_and_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Screen(), io.StringIO(), monkeypatch) == "fitted\n"
