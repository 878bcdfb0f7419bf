"""OpenTelemetry traces, where the extra `otel` is installed and the setting `otel` is on: a span for each request.

A trace is made of the record of a request that has ended, its stages as children of its span. Where it is sent, and
under which name of the service, is told by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on).
"""

import os
import threading
import time

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.record import RequestRecord

_LAST_SECONDS = 2.0


class Tracing:
    """Sends a trace of each request, from a thread of its own."""

    def __init__(self, service_version: str) -> None:
        # What is given here goes before the variables, so this one is read here.
        name = os.environ.get("OTEL_SERVICE_NAME", "labelset")
        resource = Resource.create({"service.name": name, "service.version": service_version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("labelset", service_version)
        self._propagator = TraceContextTextMapPropagator()

    def observe(self, record: RequestRecord) -> None:
        """Hand over the trace of a request that has ended."""
        # A record has the times of a clock that never jumps, a trace those of the clock on the wall.
        offset = time.time() - time.perf_counter()

        def nanoseconds(seconds: float) -> int:
            return int((seconds + offset) * 1e9)

        span = self._tracer.start_span(
            f"{record.method} {record.route}",
            context=self._propagator.extract(record.trace_context),
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(record),
            start_time=nanoseconds(record.started),
        )
        if record.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        inside = trace.set_span_in_context(span)
        for name, stage in record.stages.items():
            child = self._tracer.start_span(name, context=inside, start_time=nanoseconds(stage.start))
            child.end(nanoseconds(stage.end))
        span.end(nanoseconds(record.ended))

    def close(self) -> None:
        """Send what was not sent yet, but do not wait long for a collector that is not there."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_SECONDS)


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    """What the span says, in OpenTelemetry's own words where it has some; nothing of the inputs."""
    attributes: dict[str, str | int] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "labelset.request_id": record.request_id,
        "labelset.inputs": len(record.outcomes),
    }
    if record.model:
        attributes |= {"labelset.model": record.model.name, "labelset.version": record.model.version}
    if record.error_code:
        attributes["error.type"] = record.error_code
    return attributes
