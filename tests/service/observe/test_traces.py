"""Traces as a collector receives them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service.observe.metrics import STAGES
from tests.service.api.test_routes import form
from tests.service.conftest import SETTINGS, serving
from tests.service.spectral import SpectralEmbedder


class Collector:
    """Takes what an OTLP exporter sends."""

    def __init__(self) -> None:
        self.exports: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                collector.exports.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for export in self.exports
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_request_is_a_span_of_its_callers_trace_with_its_stages_inside(collector: Collector, low: bytes) -> None:
    settings = SETTINGS.model_copy(update={"otlp_endpoint": collector.endpoint})
    with serving(settings, SpectralEmbedder()) as client:
        client.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
        answer = form(client, low, labels=["low", "secret-label"])
        client.get("/readyz")
    [request] = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    assert request.name == "POST /v1/classify"
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    attributes = {each.key: each.value.string_value or each.value.int_value for each in request.attributes}
    assert attributes["http.response.status_code"] == 200
    assert attributes["anysound.request_id"] == answer.headers["x-request-id"]
    stages = [span for span in collector.spans if span.parent_span_id == request.span_id]
    assert {"upload", "decode", "audio_embed", "score"} <= {span.name for span in stages} <= set(STAGES)
    for span in stages:
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= request.end_time_unix_nano
    assert "secret" not in str(collector.exports)


def test_a_request_of_no_trace_begins_one(collector: Collector) -> None:
    settings = SETTINGS.model_copy(update={"otlp_endpoint": collector.endpoint})
    with serving(settings, SpectralEmbedder()) as client:
        client.get("/v1/model", headers={"traceparent": "nonsense"})
    [span] = collector.spans
    assert span.trace_id.hex() != TRACE
    assert not span.parent_span_id


def test_a_collector_that_is_not_there_costs_no_request(low: bytes) -> None:
    settings = SETTINGS.model_copy(update={"otlp_endpoint": "http://127.0.0.1:9"})
    with serving(settings, SpectralEmbedder()) as client:
        assert form(client, low, labels=["low", "high"]).status_code == 200
