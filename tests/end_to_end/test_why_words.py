"""What features say of a score reaches people: in the reasons of full answers, in explanations, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from shortlist.cli.why import tree
from shortlist.config import Settings, parse
from shortlist.runtime import Runtime
from shortlist.serve import wire
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from shortlist.serve.why import ExplainRequest, explain

TABLES: dict[str, Any] = {
    "pipelines": {
        "home": {
            "sources": {"next": {"use": "models.transitions:Transitions", "k": 40}},
            "features": {
                "often": {"use": "features.tallies:Tallies", "by": ["item", "user * item.genres"], "kinds": ["rate"]},
                "old": {"use": "features.item:ItemColumns", "names": ["year"]},
            },
            "rank": {"use": "rank.logistic:Logistic"},
        }
    }
}


@pytest.mark.parametrize("explained", ["short", "full"])
def test_features_are_reasons_of_full_answers_and_of_explanations(
    untrained: Settings, publish: Callable[..., str], explained: str
) -> None:
    settings = parse(TABLES, home=untrained.home)
    publish(settings)
    with Runtime.open(settings, clock=lambda: 1_610_000_000_000_000) as runtime:
        service = Service(runtime, Metrics())
        (answer,) = service.recommend([wire.RecommendRequest(user_id="u3", n=5, explain=explained)], ["one"], [""])
        assert isinstance(answer, wire.Recommendation)
        for item in answer.items:
            assert isinstance(item.why, list)
            sources = {each.source for each in item.why}
            assert sources & {"often", "old"} if explained == "full" else sources == {"next"}
        told = explain(service, ExplainRequest(item_id=answer.items[0].id, user_id="u3", n=5), "two")
    assert told.rank is not None
    about = {part.name: part.text for part in told.rank.parts}
    assert about["base"] == "what every candidate begins with"
    assert about["item.year"].startswith("its year is ")
    assert "rated" in about["tally.item.all"]
    assert about["tally.user*item.genres.7d"].endswith("by you, each counting half after 7 days")
    assert about["next"].endswith("found by next")
    assert np.isclose(sum(part.part for part in told.rank.parts), told.rank.score)
    assert any(": its year is " in line for line in tree(told))
