"""What was shown is learned and shown again: exploration keeps the catalogue in sight."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults import loop

SMALL = loop.Size(users=100, items=300, events=4_000, rounds=4)
FUSED = {
    **loop.explored(),
    "rank": {},
    "features": {},
}  # nothing is learned of so few people that would hold next month


@pytest.mark.fault("M12")
def test_the_catalogue_stays_in_sight(tmp_path: Path) -> None:
    rounds = loop.play(tmp_path, SMALL, 1, FUSED)
    assert len(rounds) == SMALL.rounds
    assert min(each.clicks for each in rounds) > 0, "nobody clicks: the loop is not closed"
    assert loop.wrong(rounds) == []


@pytest.mark.fault("M12")
def test_without_exploration_and_with_nothing_but_popularity_the_row_turns_red(tmp_path: Path) -> None:
    rounds = loop.play(tmp_path, SMALL, 1, FUSED, later=loop.greedy())
    assert rounds[0].coverage > 0.5
    assert len(loop.wrong(rounds)) == 2, rounds


def test_each_half_of_the_promise_is_looked_at() -> None:
    def of(*pairs: tuple[float, float]) -> list[str]:
        return loop.wrong([loop.Round(coverage, gini, 1) for coverage, gini in pairs])

    assert of((0.5, 0.7), (0.46, 0.74), (0.6, 0.1)) == []
    assert of((0.5, 0.7), (0.44, 0.7), (0.6, 0.7)) == ["coverage fell to 88.0% of the first round"]
    assert of((0.5, 0.7), (0.5, 0.76), (0.5, 0.7)) == ["the Gini index of what was shown rose by 0.060"]
