"""Metrics are bounded, spans tell the stages, logs hold no ids."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, Histogram

from shortlist.pipeline import Step
from shortlist.serve import logs
from shortlist.serve.metrics import OTHER, ROWS, STAGE_SECONDS, Metrics, merged
from shortlist.serve.opentelemetry import Spans

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def samples(metrics: Metrics) -> list[str]:
    return [f"{each.name}{each.labels}" for family in metrics.registry.collect() for each in family.samples]


def test_label_sets_are_bounded_whatever_comes() -> None:
    metrics = Metrics()
    for n in range(3000):
        metrics.answer("GET", f"/{n}", 200 + n % 400, 0.01)
        metrics.event(f"kind-{n}", "accepted")
        metrics._recommendations(f"scenario-{n}", "none").inc()
        metrics._degraded(f"recall {n}", f"Error{n}").inc()
        metrics._dropped("filter", f"rule-{n}").inc()
        metrics.stages.observe([(f"recall {n}", 0.1, 1)])
        metrics._breaker(f"home.{n}").set(1)
        for each in (metrics._nonfinite, metrics._unknown_ratio, metrics._data_age, metrics._cache):
            each(f"x{n}")
    assert len(samples(metrics)) <= 2000
    total = metrics.registry.get_sample_value("shortlist_events_total", {"type": OTHER, "result": OTHER})
    assert total == 3000 - 59


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 3)), min_size=1, max_size=30))
def test_what_is_counted_as_other_is_counted(told: list[tuple[str, int]]) -> None:
    metrics = Metrics()
    for kind, times in told:
        for _ in range(times):
            metrics.event(kind, "accepted")
    found = sum(
        each.value
        for family in metrics.registry.collect()
        for each in family.samples
        if each.name == "shortlist_events_total"
    )
    assert found == sum(times for _, times in told)


@given(st.lists(st.tuples(st.sampled_from(["recall a", "merge"]), st.floats(0, 20), st.integers(0, 5000)), max_size=30))
def test_stages_are_counted_as_histograms_count(told: list[tuple[str, float, int]]) -> None:
    metrics, plain = Metrics(), CollectorRegistry()
    seconds = Histogram("shortlist_stage_duration_seconds", "s", ("stage",), buckets=STAGE_SECONDS, registry=plain)
    rows = Histogram("shortlist_candidates", "r", ("stage",), buckets=ROWS, registry=plain)
    metrics.stages.observe(told)
    for stage, took, out in told:
        seconds.labels(stage).observe(took)
        rows.labels(stage).observe(out)

    def found(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
        every = (each for family in registry.collect() for each in family.samples if "stage" in each.labels)
        return {(each.name, str(sorted(each.labels.items()))): each.value for each in every}

    assert found(metrics.registry) == pytest.approx(found(plain))


def test_the_figures_of_workers_become_one_exposition() -> None:
    one = b'# HELP a_total A\n# TYPE a_total counter\na_total{x="y"} 1.0\n# HELP b B\n# TYPE b gauge\nb 2.0\n'
    assert merged({0: one, 1: one.replace(b"1.0", b"5.0")}).decode().splitlines() == [
        "# HELP a_total A",
        "# TYPE a_total counter",
        'a_total{worker="0",x="y"} 1.0',
        'a_total{worker="1",x="y"} 5.0',
        "# HELP b B",
        "# TYPE b gauge",
        'b{worker="0"} 2.0',
        'b{worker="1"} 2.0',
    ]


def test_a_request_and_its_stages_are_spans_below_the_callers() -> None:
    told = InMemorySpanExporter()
    spans = Spans(SimpleSpanProcessor(told))
    steps = [Step("recall", "als", 0.25, 1, 100), Step("rerank", "Mmr", 0.5, 100, 0, "OSError: secret words")]
    headers = {"Traceparent": f"00-{TRACE}-{PARENT}-01"}
    spans.request("POST", "/v1/recommend", headers, "r1", 1.0, steps)
    spans.close()
    recall, rerank, own = told.get_finished_spans()
    assert (own.name, recall.name, rerank.name) == ("POST /v1/recommend", "recall als", "rerank Mmr")
    assert own.parent is not None
    assert f"{own.parent.span_id:016x}" == PARENT
    assert {f"{each.context.trace_id:032x}" for each in (recall, rerank, own) if each.context} == {TRACE}
    assert own.context is not None
    assert {each.parent.span_id for each in (recall, rerank) if each.parent} == {own.context.span_id}
    lengths = [each.end_time - each.start_time for each in (recall, rerank, own) if each.end_time and each.start_time]
    assert lengths == [250_000_000, 500_000_000, 1_000_000_000]
    assert (rerank.status.description, recall.status.description) == ("OSError", None)
    assert dict(own.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/recommend",
        "shortlist.request_id": "r1",
    }


@pytest.fixture
def stream() -> io.StringIO:
    found = io.StringIO()
    own = logging.getLogger("shortlist")
    before = (own.level, own.propagate, own.handlers)
    logs.configure(found)
    yield found
    own.level, own.propagate, own.handlers = before


def test_a_line_is_an_object_with_its_request(stream: io.StringIO) -> None:
    token = logs.REQUEST.set("r1")
    try:
        logging.getLogger("shortlist.serve").info("serving %s", "x", extra={logs.FACTS: {"user": "0a"}})
    finally:
        logs.REQUEST.reset(token)
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "shortlist.serve",
        "message": "serving x",
        "request_id": "r1",
        "user": "0a",
    }


def test_an_error_is_one_line(stream: io.StringIO) -> None:
    try:
        raise OSError("gone")
    except OSError:
        logging.getLogger("shortlist.serve").exception("failed")
    assert len(stream.getvalue().splitlines()) == 1
    assert "OSError: gone" in json.loads(stream.getvalue())["error"]


def test_people_read_plain_lines() -> None:
    record = logging.LogRecord("shortlist", logging.INFO, "", 0, "an answer", (), None)
    record.__dict__[logs.FACTS] = {"level": "stale", "user": "0a"}
    assert logs.Lines(plain=True).format(record) == "info: an answer  level=stale  user=0a"


def test_ids_are_hashed_with_a_secret_unless_they_are_wanted() -> None:
    hashed = logs.Pseudonyms(b"one", plain=False)
    assert hashed.of("anna") == logs.Pseudonyms(b"one", plain=False).of("anna") != hashed.of("bert")
    assert hashed.of("anna") != logs.Pseudonyms(b"two", plain=False).of("anna")
    assert "anna" not in hashed.of("anna")
    assert logs.Pseudonyms(b"one", plain=True).of("anna") == "anna"
