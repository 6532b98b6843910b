"""Rankers of scenarios: the weights of goals are edited while serving, anything that was learned is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from shortlist.config import PipelineTable, Settings, convert
from shortlist.descent import Descent
from shortlist.errors import ConfigError
from shortlist.pipeline import Pipeline, Recall
from shortlist.rank.learning import Learning
from shortlist.rank.mmoe import Mmoe, MmoeModel
from shortlist.recall.popular import Popular
from shortlist.release import Release
from shortlist.scenarios import Scenarios
from shortlist.testing.checks import candidates
from shortlist.testing.world import stores, synthetic

POPULAR = {"use": "recall.popular:Popular"}
RANK = {"use": "rank.mmoe:Mmoe", "tasks": ["click", "buy"], "width": 4, "learning": {"descent": {"epochs": 0}}}


def table(rank: dict[str, Any]) -> dict[str, Any]:
    return {"sources": {"popular": POPULAR}, "rank": rank}


@pytest.fixture
def scenarios() -> tuple[Scenarios, Release]:
    world = synthetic()
    found = candidates(world, world.queries())
    ranker = Mmoe(("click", "buy"), width=4, learning=Learning(descent=Descent(epochs=0)))
    scorer = ranker.learn(found, np.zeros((len(found), 2), np.float32), seed=0)
    popular = Popular().fit(world.data, seed=0)
    release = Release(
        "1", {"home": Pipeline({"popular": Recall(popular)}, scorer=scorer)}, {"tables": {"home": table(RANK)}}
    )
    held = stores(world)
    return Scenarios(None, Settings(), held["catalog"], held), release


def built(scenarios: tuple[Scenarios, Release], rank: dict[str, Any]) -> MmoeModel:
    edits, release = scenarios
    pipeline = edits.build(release, "home", convert(PipelineTable, table(rank), "home"))
    assert isinstance(pipeline.scorer, MmoeModel)
    return pipeline.scorer


def test_weights_of_goals_are_edited_without_learning_again(scenarios: tuple[Scenarios, Release]) -> None:
    kept = scenarios[1].pipelines["home"].scorer
    assert built(scenarios, RANK) is kept
    edited = built(scenarios, {**RANK, "weights": {"buy": 5}})
    assert edited.weights == {"click": 1.0, "buy": 5.0}
    assert edited.towers is kept.towers  # type: ignore[union-attr]


def test_what_was_learned_is_not_edited(scenarios: tuple[Scenarios, Release]) -> None:
    for change in ({"width": 8}, {"tasks": ["click"]}):
        with pytest.raises(ConfigError, match="has to be trained"):
            built(scenarios, {**RANK, **change})
    with pytest.raises(ConfigError, match="has to be trained"):
        built(scenarios, {"use": "rank.logistic:Logistic"})
    with pytest.raises(ConfigError, match="'share'"):
        built(scenarios, {**RANK, "weights": {"share": 1}})
