"""Spans in the words of OpenTelemetry: one a request, one a stage. Off unless `[serve] traces` says where they go.

The one file that knows the library; it comes with `pip install shortlist[telemetry]`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shortlist import __version__
from shortlist.pipeline import Step


class Spans:
    """What a server tells about its requests. No ids of users or items, no keys."""

    def __init__(self, processor: SpanProcessor) -> None:
        resource = Resource.create({"service.name": "shortlist", "service.version": __version__})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("shortlist")

    def request(
        self,
        method: str,
        route: str,
        headers: Mapping[str, str],
        request_id: str,
        seconds: float,
        steps: Sequence[Step],
    ) -> None:
        """The span of a request that was answered just now, below the caller's when there is a header `traceparent`
        (W3C); and below it one for each stage of the answer, laid end to end up to now."""
        end = time_ns()
        parent = TraceContextTextMapPropagator().extract({name.lower(): value for name, value in headers.items()})
        about = {"http.request.method": method, "http.route": route, "shortlist.request_id": request_id}
        begin = end - int(seconds * 1e9)
        own = self._tracer.start_span(f"{method} {route}", parent, SpanKind.SERVER, about, start_time=begin)
        within, at = set_span_in_context(own), end - sum(_nanoseconds(step) for step in steps)
        for step in steps:
            rows = {"shortlist.rows_in": int(step.rows_in), "shortlist.rows_out": int(step.rows_out)}
            name = step.label
            span = self._tracer.start_span(name, within, attributes=rows, start_time=at)
            if step.error:
                span.set_status(Status(StatusCode.ERROR, step.error.partition(":")[0]))
            at += _nanoseconds(step)
            span.end(at)
        own.end(end)

    def close(self) -> None:
        """Send what is waiting."""
        self._provider.shutdown()


def to(url: str) -> Spans:
    """Spans that are sent to `url` (OTLP over HTTP) in batches, off the path of any request."""
    return Spans(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))


def _nanoseconds(step: Step) -> int:
    return int(step.seconds * 1e9)
