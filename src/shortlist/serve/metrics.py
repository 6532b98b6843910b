"""What is counted while serving, in Prometheus form. Labels come from code and configuration, never from data.

There are never more than 2,000 series a process: label sets beyond the limit of a metric are counted as "other"."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Any, Generic, TypeVar

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from shortlist.release import age
from shortlist.rungs import LEVELS
from shortlist.runtime import Reply, Runtime

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
STAGE_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
ROWS = (1, 10, 100, 500, 3000)
OTHER = "other"

M = TypeVar("M", Counter, Gauge, Histogram)

disable_created_metrics()  # type: ignore[no-untyped-call]  # the time of making each series: as many series again, which nobody looks at


class Labelled(Generic[M]):
    """The children of a metric, found quickly, `most` of them; further label sets share the child "other"."""

    def __init__(self, metric: M, most: int) -> None:
        self._metric: M = metric
        self._most = most
        self._lock = threading.Lock()
        self._children: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._children.get(labels)
        return self._new(labels) if child is None else child

    def _new(self, labels: tuple[str, ...]) -> M:
        with self._lock:
            if len(self._children) >= self._most - 1:
                labels = tuple(OTHER for _ in labels)
            if labels not in self._children:
                self._children[labels] = self._metric.labels(*labels)
            return self._children[labels]


class Stages(Collector):
    """Time and rows of the stages, `most` of them; further ones share "other".

    An answer has about twenty: they are counted in one go, as one by one they would cost as much as a stage.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._seconds: dict[str, Counts] = {}
        self._rows: dict[str, Counts] = {}

    def observe(self, steps: Iterable[tuple[str, float, int]]) -> None:
        """Name of the stage, seconds, rows that came out."""
        with self._lock:
            for name, seconds, rows in steps:
                if name not in self._rows:
                    name = name if len(self._rows) < self._most - 1 else OTHER
                    self._seconds.setdefault(name, Counts([0] * (len(STAGE_SECONDS) + 1)))
                    self._rows.setdefault(name, Counts([0] * (len(ROWS) + 1)))
                self._seconds[name].add(bisect_left(STAGE_SECONDS, seconds), seconds)
                self._rows[name].add(bisect_left(ROWS, rows), rows)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        for name, about, bounds, counted in (
            ("shortlist_stage_duration_seconds", "Time of a stage", STAGE_SECONDS, self._seconds),
            ("shortlist_candidates", "Rows that came out of a stage", ROWS, self._rows),
        ):
            family = HistogramMetricFamily(name, about, labels=["stage"])
            with self._lock:
                told = {stage: (list(accumulate(counts.bucket)), counts.total) for stage, counts in counted.items()}
            for stage, (upto, total) in told.items():
                buckets = list(zip(map(floatToGoString, (*bounds, inf)), upto, strict=True))
                family.add_metric([stage], buckets, total)
            yield family


@dataclass(slots=True)
class Counts:
    """One histogram."""

    bucket: list[int]  # observations by bucket, not cumulated
    total: float = 0.0

    def add(self, bucket: int, value: float) -> None:
        self.bucket[bucket] += 1
        self.total += value


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        own = self.registry = CollectorRegistry()
        self._requests = Labelled(
            Histogram(
                "http_server_request_duration_seconds",
                "Time from the request's head to the answer's end",
                ("method", "route", "status"),
                buckets=SECONDS,
                registry=own,
            ),
            76,
        )
        self.active = Gauge("http_server_active_requests", "Requests being answered", registry=own)
        self._events = Labelled(
            Counter("shortlist_events", "Events by what became of them", ("type", "result"), registry=own), 60
        )
        self._recommendations = Labelled(
            Counter("shortlist_recommendations", "Lists given", ("scenario", "rung"), registry=own), 60
        )
        self._degraded = Labelled(
            Counter("shortlist_degraded", "Stages that failed", ("stage", "reason"), registry=own), 60
        )
        self._dropped = Labelled(
            Counter(
                "shortlist_candidates_dropped", "Candidates taken out by filters", ("stage", "reason"), registry=own
            ),
            40,
        )
        self._nonfinite = Labelled(
            Counter("shortlist_nonfinite", "Scores that were no finite number", ("where",), registry=own), 4
        )
        self.empty = Counter("shortlist_empty", "Lists without a single item", registry=own)
        self.stages = Stages(36)
        own.register(self.stages)
        self.effected = Histogram(
            "shortlist_event_to_effect_seconds",
            "Time from an event's arrival until the next answer knows it",
            buckets=SECONDS,
            registry=own,
        )
        self.model_age = Gauge("shortlist_model_age_seconds", "Time since the release was made", registry=own)
        self._data_age = Labelled(
            Gauge("shortlist_data_age_seconds", "Time since the newest event", ("source",), registry=own), 4
        )
        self._unknown_ratio = Labelled(
            Gauge("shortlist_unknown_ratio", "Share of those named that nobody knew", ("feature",), registry=own), 4
        )
        self._joined = Gauge(
            "shortlist_attribution_join_ratio", "Share of stored events that name the answer behind them", registry=own
        )
        self._breaker = Labelled(
            Gauge("shortlist_breaker_state", "1 = the source is left alone, it was too slow", ("port",), registry=own),
            40,
        )
        self._skipped = Labelled(
            Counter("shortlist_skipped_events", "Events that a feature failed at", ("feature",), registry=own), 12
        )
        self._reading = threading.Lock()
        self._cache = Labelled(Gauge("shortlist_cache_bytes", "Memory of a cache", ("cache",), registry=own), 4)
        self._seen: Tally[str] = Tally()  # how many were named, by what they are
        self.rungs = np.zeros(len(LEVELS), np.int64)  # lists given, by rung

    def answer(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests(method, route, str(status)).observe(seconds)

    def event(self, kind: str, result: str, count: int = 1, *, joined: bool = False) -> None:
        """What became of `count` events; `joined` when they name the answer behind them."""
        self._events(kind, result).inc(count)
        self._seen["event"] += count
        self._seen["event unknown"] += count * (result == "held")
        if result == "accepted":
            self._seen["stored"] += count
            self._seen["stored joined"] += count * joined

    def effect(self, seconds: float) -> None:
        self.effected.observe(max(0.0, seconds))

    def people(self, named: int, unknown: int) -> None:
        """How many people were asked for by id, and how many of them nobody knew."""
        self._seen["user"] += named
        self._seen["user unknown"] += unknown

    def answered(self, scenario: str, lists: int, reply: Reply) -> None:
        """Everything that the trace of a reply of so many lists says."""
        trace, slate = reply.trace, reply.slate
        counts = np.bincount(reply.rung, minlength=len(LEVELS))
        self.rungs += counts
        for rung in np.flatnonzero(counts).tolist():
            self._recommendations(scenario, LEVELS[rung]).inc(int(counts[rung]))
        self.empty.inc(lists - len(np.unique(slate.query)))
        steps = (*trace.steps, *reply.explained.steps)
        self.stages.observe((step.label, step.seconds, step.rows_out) for step in steps)
        for step in trace.errors + reply.explained.errors:
            self._degraded(step.label, step.error.partition(":")[0][:40]).inc()
        for name, rows in trace.drops.items():
            self._dropped("filter", name).inc(rows)
        ranked = slate.columns["score"][~slate.columns["fallback"]]
        if poisoned := int(np.count_nonzero(~np.isfinite(ranked))):
            self._nonfinite("score").inc(poisoned)

    def text(self, runtime: Runtime) -> bytes:
        """The exposition, now."""
        now, facts = runtime.clock(), runtime.release.facts
        if (seconds := age(facts, now)) is not None:
            self.model_age.set(seconds)
        if isinstance(newest := facts.get("last_event"), int):
            self._data_age("release").set((now - newest) / 1e6)
        self._unknown_ratio("user").set(self._share("user unknown", "user"))
        self._unknown_ratio("item").set(self._share("event unknown", "event"))
        self._joined.set(self._share("stored joined", "stored"))
        self._cache("last lists").set(runtime.ladder.last.size)
        with self._reading:
            for feature, events in list(runtime.setbacks.skipped.items()):
                self._skipped(feature).inc(events - self._seen[f"skipped {feature}"])
                self._seen[f"skipped {feature}"] = events
        paused = runtime.breaker.states()
        for scenario, pipeline in runtime.release.pipelines.items():
            for source in pipeline.sources:
                self._breaker(f"{scenario}.{source}").set(f"{scenario}.{source}" in paused)
        return generate_latest(self.registry)

    def _share(self, some: str, all_: str) -> float:
        return self._seen[some] / self._seen[all_] if self._seen[all_] else 0.0


def merged(texts: Mapping[int, bytes]) -> bytes:
    """The expositions of several workers as one: each series with the label `worker`."""
    about: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for worker, text in texts.items():
        family = ""
        for line in text.decode().splitlines():
            if line.startswith("#"):
                family = line.split(" ", 3)[2]
                if line not in about.setdefault(family, []):
                    about[family].append(line)
            elif line:
                samples.setdefault(family, []).append(_marked(line, worker))
    lines: Iterable[Any] = (line for name, told in about.items() for line in (*told, *samples.get(name, [])))
    return ("\n".join(lines) + "\n").encode()


def _marked(line: str, worker: int) -> str:
    """A sample with the label `worker`."""
    name, brace, rest = line.partition("{")
    if brace:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = line.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
