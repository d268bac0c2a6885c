"""OpenTelemetry traces. Nothing of OpenTelemetry is imported unless an endpoint is set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_MS = 2_000
"""Time limit for sending the last spans when the service stops."""


class Traces:
    """Sends a span per request, with a child span per stage, to an OTLP endpoint in the background."""

    def __init__(self, endpoint: str, version: str) -> None:
        """`endpoint` is a collector's OTLP/HTTP address, such as http://collector:4318. Raises SettingsError."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise SettingsError("otlp_endpoint requires more packages: pip install 'anysound[traces]'") from None
        resource = Resource.create({"service.name": "anysound", "service.version": version})
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=FLUSH_MS / 1e3)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("anysound")

    def record(
        self,
        name: str,
        headers: Mapping[str, str],
        seconds: float,
        stages: Mapping[str, float],
        attributes: Mapping[str, str | int],
    ) -> None:
        """Record a request that has just ended after `seconds`, as a child of the caller's span if it named one.

        Stages do not overlap, so their spans are laid end to end from the start of the request.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ended = time.time_ns()
        began = ended - int(seconds * 1e9)
        parent = TraceContextTextMapPropagator().extract({"traceparent": headers.get("traceparent", "")})
        span = self._tracer.start_span(
            name, context=parent, kind=SpanKind.SERVER, attributes=dict(attributes), start_time=began
        )
        inside = set_span_in_context(span)
        at = began
        for stage, duration in stages.items():
            child = self._tracer.start_span(stage, context=inside, start_time=at)
            at += int(duration * 1e9)
            child.end(at)
        span.end(ended)

    def close(self) -> None:
        """Send the remaining spans; blocks for up to FLUSH_MS."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()
