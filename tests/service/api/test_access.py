"""Around every request: ids, headers, metrics and log lines; bounds that hold whatever a client says or does."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from service.api.app import create_app
from service.observe.logs import JsonFormatter
from service.observe.metrics import STAGES
from service.settings import Settings
from tests.service.api.test_routes import form, problem
from tests.service.conftest import SETTINGS, Serve
from tests.service.spectral import SpectralEmbedder

LABELS = ["low", "high"]


# Ids and headers


@pytest.mark.parametrize("given", ["a", "0af7651916cd43dd-8448eb211c80319c", "job:7.part_2", "x" * 128])
def test_a_harmless_request_id_comes_back(given: str, client: TestClient) -> None:
    assert client.get("/v1/model", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", 'a"b', "a\tb", "<script>", "ä"])
def test_any_other_request_id_is_replaced(given: str, client: TestClient) -> None:
    headers = {b"X-Request-ID": given.encode("latin-1")}
    answered = client.get("/v1/model", headers=headers).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_every_request_without_an_id_gets_its_own(client: TestClient) -> None:
    assert len({client.get("/livez").headers["x-request-id"] for _ in range(10)}) == 10


@pytest.mark.parametrize("path", ["/v1/model", "/livez", "/nothing", "/v1/label-sets/none", "/docs", "/metrics"])
def test_every_answer_has_id_timing_and_security_headers(path: str, client: TestClient) -> None:
    headers = client.get(path).headers
    assert headers["x-request-id"]
    assert "total;dur=" in headers["server-timing"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_server_timing_names_the_stages_of_the_metrics(client: TestClient, low: bytes) -> None:
    timing = form(client, low, labels=LABELS).headers["server-timing"]
    entries = dict(re.findall(r"([a-z_]+);dur=([0-9.]+)", timing))
    total = float(entries.pop("total"))
    assert {"upload", "decode", "queue", "audio_embed", "text_embed", "cache", "score"} == set(STAGES)
    assert entries.keys() <= set(STAGES)
    assert {"upload", "decode", "audio_embed", "score"} <= entries.keys()
    assert sum(map(float, entries.values())) <= total


def test_cross_origin_requests_get_no_permission(client: TestClient) -> None:
    answer = client.get("/v1/model", headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


# Log lines


def test_a_request_leaves_one_line_without_prompt_file_name_or_key(
    client: TestClient, low: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.post(
        "/v1/classify",
        files={"audio": ("secret-name.wav", low)},
        data={"labels": ["secret-label", "other"], "template": "secret-template {label}"},
        headers={"X-API-Key": "secret-key", "X-Request-ID": "line-1"},
    )
    lines = [record for record in caplog.records if record.name == "anysound.access"]
    assert len(lines) == 1
    assert "secret" not in caplog.text
    fields = json.loads(JsonFormatter().format(lines[0]))
    assert fields["request_id"] == "line-1"
    assert fields["route"] == "/v1/classify"
    assert fields["status"] == 200
    assert fields["ms"] >= fields["decode_ms"] > 0
    assert fields["bytes"] > len(low)


def test_a_path_cannot_forge_a_line_or_a_metric(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anysound")
    client.get("/x%0a2026-01-01 forged")
    assert "forged" not in caplog.text
    assert "forged" not in client.get("/metrics").text


@pytest.mark.parametrize("probe", ["/livez", "/readyz", "/startupz", "/metrics"])
def test_probes_are_not_logged(probe: str, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client.get(probe)
    assert not [record for record in caplog.records if record.name == "anysound.access"]


# Clients that misbehave, over real sockets


@contextmanager
def listening(app: Starlette) -> Iterator[int]:
    """Serve in a thread; the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def slow_embedder() -> SpectralEmbedder:
    return SpectralEmbedder()


@pytest.fixture(scope="module")
def port(slow_embedder: SpectralEmbedder) -> Iterator[int]:
    """The port of a server that accepts bodies up to 100 kB and requests up to 1 s."""
    settings = Settings(**{**SETTINGS.model_dump(), "max_upload_bytes": 100_000, "request_timeout_s": 1.0})
    with listening(create_app(settings, slow_embedder)) as port:
        yield port


def head(*lines: str) -> bytes:
    return "\r\n".join(["POST /v1/classify?labels=low&labels=high HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def answered(connection: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and body of a problem, read until it is whole."""
    connection.settimeout(10)
    received = b""
    while b"\r\n\r\n" not in received or not received.endswith(b"}"):
        chunk = connection.recv(65_536)
        if not chunk:
            break
        received += chunk
    top, _, body = received.partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


def test_a_declared_length_over_the_limit_is_refused_before_the_body_is_sent(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head("Content-Type: audio/wav", "Content-Length: 100000000000"))
        status, body = answered(connection)
    assert (status, body["code"]) == (413, "payload_too_large")


def test_a_chunked_body_is_cut_off_at_the_limit(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head("Content-Type: audio/wav", "Transfer-Encoding: chunked"))
        sent = 0
        try:
            for _ in range(300):
                connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                sent += 1 << 20
        except OSError:
            pass
        try:
            status, body = answered(connection)
        except OSError:  # the server hung up while this end was still sending
            assert sent < 30 << 20
            return
    assert (status, body["code"]) == (413, "payload_too_large")


def test_a_client_of_a_byte_a_second_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head("Content-Type: audio/wav", "Content-Length: 50000"))
        for _ in range(8):
            connection.sendall(b"x")
            time.sleep(0.1)
        status, body = answered(connection)
    assert (status, body["code"]) == (504, "deadline_exceeded")


def test_a_request_that_takes_too_long_is_504(port: int, slow_embedder: SpectralEmbedder, low: bytes) -> None:
    slow_embedder.audio_delay_s = 5
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head("Content-Type: audio/wav", f"Content-Length: {len(low)}") + low)
            status, body = answered(connection)
    finally:
        slow_embedder.audio_delay_s = 0
    assert (status, body["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("sent", [0, 1_000])
def test_a_client_that_goes_away_while_it_sends_is_no_error_of_ours(
    sent: int, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head("Content-Type: audio/wav", "Content-Length: 50000") + bytes(sent))
    lines = wait_for_line(caplog)
    assert [line.levelname for line in lines] == ["INFO"]
    assert "status=499" in lines[0].getMessage()


def test_work_is_cancelled_when_its_client_goes_away(
    port: int, slow_embedder: SpectralEmbedder, low: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    slow_embedder.audio_delay_s = 0.9
    slow_embedder.cancelled = 0
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head("Content-Type: audio/wav", f"Content-Length: {len(low)}") + low)
            time.sleep(0.3)
        [line] = wait_for_line(caplog)
    finally:
        slow_embedder.audio_delay_s = 0
    assert slow_embedder.cancelled
    assert "status=499" in line.getMessage()


def wait_for_line(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The line that the server logged for one request."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        lines = [record for record in caplog.records if record.name == "anysound.access"]
        if any("request_id=" in record.getMessage() for record in lines):
            return lines
        time.sleep(0.02)
    raise AssertionError("no line was logged")


def test_requests_in_progress_are_counted_down_again(client: TestClient, low: bytes) -> None:
    form(client, low, labels=LABELS)
    form(client, b"bad", labels=LABELS)
    assert "anysound_http_requests_in_progress 1.0" in client.get("/metrics").text  # the scrape itself


def test_after_all_that_the_server_still_serves(port: int, low: bytes) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("Content-Type: audio/wav", f"Content-Length: {len(low)}", "Connection: close") + low)
        answer = await reader.read()
        writer.close()
        return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200")


def test_a_problem_of_the_body_size_is_the_same_for_json_routes(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": "x" * (5 << 20)})
    assert problem(answer) == (413, "payload_too_large")


def test_bodies_that_together_are_too_much_are_refused_and_then_forgotten(serve: Serve, low: bytes) -> None:
    client = serve(max_inflight_bytes=len(low) // 2)
    for _ in range(3):
        answer = form(client, low, labels=LABELS)
        assert problem(answer) == (503, "overloaded")
        assert answer.headers["retry-after"] == "1"
    assert client.post("/v1/embeddings", json={"input": "low"}).status_code == 200


def test_what_a_request_held_is_given_back_whatever_became_of_it(serve: Serve, low: bytes) -> None:
    client = serve(max_inflight_bytes=2 * len(low))
    for _ in range(5):
        assert form(client, low, labels=LABELS).status_code == 200
        assert form(client, b"no sound", labels=LABELS).status_code == 415
