"""The load generator against a real server: it asks as often as it was told, and counts what it was told."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.load import Clips, Plan, Target, carry_out
from benchmarks.measurement import measure

ANSWER_S = 0.02


class Handler(BaseHTTPRequestHandler):
    """Answers 200, or 503 to every path with `full` in it, after 20 ms, and keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    bodies: list[bytes]

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))  # type: ignore[attr-defined]
        time.sleep(ANSWER_S)
        self.send_response(503 if "full" in self.path else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def clips(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{number}.wav") for number in range(2)]
    for path in paths:
        soundfile.write(path, np.zeros(998, np.int16), 8_000)
    return paths


def target(server: ThreadingHTTPServer, path: str = "/classify") -> Target:
    return Target("127.0.0.1", server.server_port, path)


def test_a_closed_loop_has_as_many_requests_in_flight_as_clients(server: ThreadingHTTPServer, clips: list[str]) -> None:
    samples = asyncio.run(carry_out(Plan(target(server), clips, 0.5, 0.1, clients=3)))
    assert {sample.status for sample in samples} == {200}
    assert all(sample.done - sample.due >= ANSWER_S for sample in samples)
    for sample in samples:
        assert sum(other.due <= sample.due < other.done for other in samples) <= 3


def test_an_open_loop_keeps_its_rate_whatever_the_answers_take(server: ThreadingHTTPServer, clips: list[str]) -> None:
    plan = Plan(target(server), clips, 1.0, 0.2, rate=100, seed=1)
    samples = asyncio.run(carry_out(plan))
    assert len(samples) == pytest.approx(120, abs=40)
    assert [sample.due for sample in sorted(samples, key=lambda s: s.due)] == sorted(
        sample.due for sample in asyncio.run(carry_out(plan))
    ), "the same seed gives the same arrivals"


def test_no_two_requests_carry_the_same_recording(server: ThreadingHTTPServer, clips: list[str]) -> None:
    asyncio.run(carry_out(Plan(target(server), clips, 0.3, 0, clients=2)))
    bodies: list[bytes] = server.bodies  # type: ignore[attr-defined]
    assert len(set(bodies)) == len(bodies) > 2


@pytest.mark.parametrize("kind", ["litserve", "infinity"])
def test_recordings_in_json_are_whole(kind: str, clips: list[str]) -> None:
    body = json.loads(b"".join(next(iter(Clips(clips, kind)))))  # type: ignore[arg-type]
    data = body["audio"] if kind == "litserve" else body["input"][0].removeprefix("data:audio/wav;base64,")
    decoded = base64.b64decode(data, validate=True)
    assert decoded[:-6] == Path(clips[0]).read_bytes()[: len(decoded) - 6]


def test_refusals_are_no_throughput(server: ThreadingHTTPServer, clips: list[str]) -> None:
    refused = measure("fake", "none", Plan(target(server, "/full"), clips, 0.5, 0.1, clients=2), dict)
    assert (refused.served, refused.clips_s, refused.failed) == (0, 0, 0)
    assert refused.refused > 0
    assert refused.refusal_p99 >= 1e3 * ANSWER_S


def test_a_server_that_is_not_there_fails_every_request(clips: list[str]) -> None:
    samples = asyncio.run(carry_out(Plan(Target("127.0.0.1", 9, "/"), clips, 0.2, 0, clients=1)))
    assert {sample.status for sample in samples} == {0}
