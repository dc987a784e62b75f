"""Traces for OpenTelemetry: a span for each sampled request, and one for each of its stages."""

import random
from typing import Any

from feint._optional import require
from feint.gateway.record import RequestRecord

SHARE = 0.01


class Traces:
    """Observer that passes spans to an exporter, in batches and from another thread.

    A span holds the model, outcome, reason, queries and rung; inputs and probabilities are not known here.

    Args:
        exporter: Where spans go.
        share: The share of requests that are sampled.
        version: The version of Feint.
    """

    def __init__(self, exporter: Any, *, share: float = SHARE, version: str = "") -> None:
        sdk = require("opentelemetry.sdk.trace", "otel")
        resource = require("opentelemetry.sdk.resources", "otel").Resource.create(
            {"service.name": "feint", "service.version": version}
        )
        self._provider = sdk.TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            require("opentelemetry.sdk.trace.export", "otel").BatchSpanProcessor(exporter)
        )
        self._api = require("opentelemetry.trace", "otel")
        self._tracer, self._share = self._provider.get_tracer("feint.gateway"), share

    def __call__(self, record: RequestRecord) -> None:
        """Make the spans of a request, if it is in the sample, and note its trace on the record."""
        if random.random() >= self._share:
            return
        start = round(1e9 * record.time)
        attributes = {
            "feint.model": record.model, "feint.outcome": record.outcome, "feint.queries": record.queries,
            "feint.rung": record.rung, "feint.applied": record.applied, "feint.conflicts": record.conflicts,
        }  # fmt: skip
        if record.reason:
            attributes["error.type"] = record.reason
        whole = self._tracer.start_span(
            "infer", context=self._api.set_span_in_context(self._api.INVALID_SPAN), kind=self._api.SpanKind.SERVER,
            attributes=attributes, start_time=start,
        )  # fmt: skip
        inside, at = self._api.set_span_in_context(whole), start
        for stage, seconds in record.seconds.items():  # in the order in which they began
            span = self._tracer.start_span(stage, context=inside, start_time=at)
            at += round(1e9 * seconds)
            span.end(at)
        if record.outcome == "failed":
            whole.set_status(self._api.StatusCode.ERROR)
        whole.end(at)
        record.trace = f"{whole.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Export what is left."""
        self._provider.shutdown()


def to_collector(endpoint: str, *, share: float = SHARE, version: str = "") -> Traces:
    """Return traces to a collector of OTLP over HTTP, like http://localhost:4318/v1/traces; raise `MissingData`."""
    otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
    return Traces(otlp.OTLPSpanExporter(endpoint=endpoint), share=share, version=version)
