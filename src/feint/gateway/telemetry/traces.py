"""Traces for OpenTelemetry: a span for each sampled request, and one for each of its stages."""

import random
from typing import Any

from feint._optional import require
from feint.gateway.record import RequestRecord
from feint.gateway.request_context import TraceContext

SHARE = 0.01


class AnnouncedIds:
    """Ids of spans. That of a request is chosen when it arrives, since upstreams are told before its span is made."""

    def __init__(self) -> None:
        self._trace = self._span = 0

    def announce(self, trace: TraceContext) -> None:
        """Choose the ids of the next span."""
        self._trace, self._span = int(trace.trace, 16), int(trace.span, 16)

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        return self._trace

    def generate_span_id(self) -> int:
        """Return the id of the next span."""
        span, self._span = self._span, 0
        return span or random.getrandbits(64) or 1

    def is_trace_id_random(self) -> bool:
        """Return whether the ids of traces are random, as those of a caller need not be."""
        return False


class Traces:
    """Observer that passes spans to an exporter, in batches and from another thread.

    A span holds the model, outcome, reason, queries and rung; inputs and probabilities are not known here. Where a
    caller sends the header traceparent, the span is a part of the caller's trace, who also decides whether it is
    recorded.

    Args:
        exporter: Where spans go.
        share: The share of the other requests that are sampled.
        version: The version of Feint.
    """

    def __init__(self, exporter: Any, *, share: float = SHARE, version: str = "") -> None:
        sdk = require("opentelemetry.sdk.trace", "otel")
        resource = require("opentelemetry.sdk.resources", "otel").Resource.create(
            {"service.name": "feint", "service.version": version}
        )
        self._ids, self.share = AnnouncedIds(), share
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(
            require("opentelemetry.sdk.trace.export", "otel").BatchSpanProcessor(exporter)
        )
        self._api = require("opentelemetry.trace", "otel")
        self._tracer = self._provider.get_tracer("feint.gateway")

    def __call__(self, record: RequestRecord) -> None:
        """Make the spans of a request that is sampled. Strangers, who send any header, leave none."""
        trace = record.context.trace
        if trace is None or not trace.sampled or not record.client:
            return
        start = round(1e9 * record.time)
        attributes = {
            "feint.model": record.model, "feint.outcome": record.outcome, "feint.queries": record.queries,
            "feint.rung": record.rung, "feint.applied": record.applied, "feint.conflicts": record.conflicts,
        }  # fmt: skip
        if record.reason:
            attributes["error.type"] = record.reason
        self._ids.announce(trace)
        whole = self._tracer.start_span(
            "infer", context=self._parent(trace), kind=self._api.SpanKind.SERVER, attributes=attributes,
            start_time=start,
        )  # fmt: skip
        inside, at = self._api.set_span_in_context(whole), start
        for stage, seconds in record.seconds.items():  # in the order in which they began
            span = self._tracer.start_span(stage, context=inside, start_time=at)
            at += round(1e9 * seconds)
            span.end(at)
        if record.outcome == "failed":
            whole.set_status(self._api.StatusCode.ERROR)
        whole.end(at)

    def _parent(self, trace: TraceContext) -> Any:
        """Return the context of the caller's span, or that of no span."""
        if not trace.parent:
            return self._api.set_span_in_context(self._api.INVALID_SPAN)
        sampled = self._api.TraceFlags(self._api.TraceFlags.SAMPLED)
        parent = self._api.SpanContext(int(trace.trace, 16), int(trace.parent, 16), is_remote=True, trace_flags=sampled)
        return self._api.set_span_in_context(self._api.NonRecordingSpan(parent))

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def to_collector(endpoint: str, *, share: float = SHARE, version: str = "") -> Traces:
    """Return traces to a collector of OTLP over HTTP, like http://localhost:4318/v1/traces; raise `MissingData`."""
    otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
    return Traces(otlp.OTLPSpanExporter(endpoint=endpoint), share=share, version=version)
