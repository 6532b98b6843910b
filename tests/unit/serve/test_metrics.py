"""Figures that are read off the runtime when somebody asks for them."""

from __future__ import annotations

from pathlib import Path

from shortlist.config import parse
from shortlist.runtime import Runtime
from shortlist.serve.metrics import Metrics
from shortlist.types import Events


class Broken:
    def update(self, events: Events) -> None:
        raise ValueError("bug")


def test_events_that_a_feature_was_not_told_are_counted_by_its_name(tmp_path: Path) -> None:
    with Runtime.open(parse({}, home=tmp_path)) as runtime:
        metrics = Metrics()
        assert "shortlist_skipped_events_total{" not in metrics.text(runtime).decode()
        events = Events.concat([])
        runtime.setbacks.skipped["Counts"] = 2
        runtime.setbacks.tell([Broken()], events, "1")  # type: ignore[list-item]
        told = metrics.text(runtime).decode()
        assert 'shortlist_skipped_events_total{feature="Counts"} 2.0' in told
        assert 'shortlist_skipped_events_total{feature="Broken"} 0.0' in told
        runtime.setbacks.skipped["Counts"] = 5
        assert 'shortlist_skipped_events_total{feature="Counts"} 5.0' in metrics.text(runtime).decode()


def test_many_features_that_fail_are_told_apart_up_to_a_limit(tmp_path: Path) -> None:
    with Runtime.open(parse({}, home=tmp_path)) as runtime:
        runtime.setbacks.skipped.update({f"Feature{n}": 1 for n in range(40)})
        lines = Metrics().text(runtime).decode().splitlines()
        told = [line for line in lines if line.startswith("shortlist_skipped_events_total{")]
        assert len(told) == 12
        assert 'shortlist_skipped_events_total{feature="other"} 29.0' in told
