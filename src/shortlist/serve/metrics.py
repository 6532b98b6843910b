"""What is counted while serving, in Prometheus form. Labels come from code and configuration, never from data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from shortlist.release import Release, age
from shortlist.rungs import LEVELS
from shortlist.runtime import Reply

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
STAGE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
ROWS = (1, 10, 30, 100, 300, 1000, 3000, 10_000)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Time from the request's head to the answer's end",
            ("method", "route", "status"),
            buckets=SECONDS,
            registry=own,
        )
        self.active = Gauge("http_server_active_requests", "Requests being answered", registry=own)
        self.events = Counter("shortlist_events", "Events by what became of them", ("type", "result"), registry=own)
        self.recommendations = Counter("shortlist_recommendations", "Lists given", ("scenario", "rung"), registry=own)
        self.degraded = Counter("shortlist_degraded", "Stages that failed", ("stage", "reason"), registry=own)
        self.dropped = Counter(
            "shortlist_candidates_dropped", "Candidates taken out by filters", ("stage", "reason"), registry=own
        )
        self.nonfinite = Counter("shortlist_nonfinite", "Scores that were no finite number", ("where",), registry=own)
        self.empty = Counter("shortlist_empty", "Lists without a single item", registry=own)
        self.stage = Histogram(
            "shortlist_stage_duration_seconds", "Time of a stage", ("stage",), buckets=STAGE_SECONDS, registry=own
        )
        self.candidates = Histogram(
            "shortlist_candidates", "Rows that came out of a stage", ("stage",), buckets=ROWS, registry=own
        )
        self.effected = Histogram(
            "shortlist_event_to_effect_seconds",
            "Time from an event's arrival until the next answer knows it",
            buckets=SECONDS,
            registry=own,
        )
        self.model_age = Gauge("shortlist_model_age_seconds", "Time since the release was made", registry=own)
        self.data_age = Gauge("shortlist_data_age_seconds", "Time since the newest event", ("source",), registry=own)

    def event(self, kind: str, result: str) -> None:
        self.events.labels(kind, result).inc()

    def effect(self, seconds: float) -> None:
        self.effected.observe(max(0.0, seconds))

    def answered(self, scenario: str, lists: int, reply: Reply) -> None:
        """Everything that the trace of a reply of so many lists says."""
        trace, slate = reply.trace, reply.slate
        for rung, count in enumerate(np.bincount(reply.rung, minlength=len(LEVELS)).tolist()):
            if count:
                self.recommendations.labels(scenario, LEVELS[rung]).inc(count)
        self.empty.inc(lists - len(np.unique(slate.query)))
        for step in (*trace.steps, *reply.explained.steps):
            name = f"{step.stage} {step.name}".strip()
            self.stage.labels(name).observe(step.seconds)
            self.candidates.labels(name).observe(step.rows_out)
            if step.error:
                self.degraded.labels(name, step.error.partition(":")[0]).inc()
        for name, rows in trace.drops.items():
            self.dropped.labels("filter", name).inc(rows)
        ranked = slate.columns["score"][~slate.columns["fallback"]]
        self.nonfinite.labels("score").inc(int(np.count_nonzero(~np.isfinite(ranked))))

    def text(self, serving: Release, now: int) -> bytes:
        """The exposition at `now` (microseconds)."""
        self._age(serving.facts, now)
        return generate_latest(self.registry)

    def _age(self, facts: Mapping[str, object], now: int) -> None:
        if (seconds := age(facts, now)) is not None:
            self.model_age.set(seconds)
        if isinstance(newest := facts.get("last_event"), int):
            self.data_age.labels("release").set((now - newest) / 1e6)
