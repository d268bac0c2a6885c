"""`WS /v1/stream` as a client sees it, over a real connection."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection

from service.ipc.embedding import Vectors, WorkerUnavailable
from tests.service.api.stream.conftest import OPENING, Listen, Service, messages
from tests.service.conftest import encoded
from tests.service.spectral import RATE, SpectralEmbedder, tone

END = '{"type": "end"}'


def send(client: ClientConnection, samples: Vectors, piece: int = 3_000) -> None:
    data = samples.astype("<f4").tobytes()
    for at in range(0, len(data), piece):
        client.send(data[at : at + piece])


def of_type(kind: str, received: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in received if message.get("type") == kind]


def low_then_high() -> Vectors:
    """12 s of faint noise with a low tone from 3 s to 5.5 s and a high one from 8 s to 9 s."""
    samples: Vectors = 1e-3 * np.random.default_rng(0).standard_normal(12 * RATE).astype(np.float32)
    samples[3 * RATE : int(5.5 * RATE)] += tone(200, 2.5)
    samples[8 * RATE : 9 * RATE] += tone(3_000, 1)
    return samples


def refused(client: ClientConnection) -> tuple[int, str, int]:
    """Status and code of the problem that ends a stream, and the code that the connection is closed with."""
    problem = json.loads(client.recv(timeout=20))
    with pytest.raises(ConnectionClosedError) as closed:
        client.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    return problem["status"], problem["code"], closed.value.rcvd.code


def test_a_stream_is_scored_as_a_recording_is(listen: Listen) -> None:
    """The same windows, scores and events as those of classify."""
    service, samples = listen(audio_cache_bytes=1 << 20), low_then_high()
    fields: dict[str, Any] = {"labels": ["low", "high"], "hop_s": 0.5, "events": True, "threshold": 0.8}
    client, ready = service.open(**fields, none_of_these=True)
    assert ready == {"type": "ready", "window_s": 1.0, "hop_s": 0.5}
    send(client, samples)
    client.send(END)
    received = messages(client)
    answer = httpx2.post(
        f"http://127.0.0.1:{service.port}/v1/classify",
        files={"audio": encoded(samples, subtype="FLOAT")},
        data={**fields, "labels": json.dumps(fields["labels"]), "timeline": "true", "none_of_these": "true"},
    )
    [result] = answer.json()["results"]
    scores = of_type("scores", received)
    for message, window in zip(scores, result["timeline"], strict=True):
        assert (message["start_s"], message["end_s"]) == (window["start_s"], window["end_s"])
        assert [each["label"] for each in message["scores"]] == [each["label"] for each in window["scores"]]
        assert [each["score"] for each in message["scores"]] == pytest.approx(
            [each["score"] for each in window["scores"]], abs=1e-6
        )
        assert 0 <= message["none_of_these"] <= 1
    events = [{key: value for key, value in event.items() if key != "type"} for event in of_type("event", received)]
    assert [(event["label"], event["start_s"], event["end_s"]) for event in events] == [
        (event["label"], event["start_s"], event["end_s"]) for event in result["events"]
    ]
    assert len(events) == 2
    assert received[-1] == {"type": "done"}
    assert not of_type("dropped", received)
    assert client.close_code == 1000


@pytest.mark.parametrize(
    ("rate", "encoding"), [(4_000, "s16le"), (44_100, "f32le"), (48_000, "s16le"), (192_000, "f32le")]
)
def test_any_sample_rate_is_resampled(service: Service, rate: int, encoding: str) -> None:
    client, _ = service.open(sample_rate=rate, encoding=encoding)
    samples = tone(200, 3, rate)
    data = (samples * 32_767).astype("<i2").tobytes() if encoding == "s16le" else samples.astype("<f4").tobytes()
    for at in range(0, len(data), 4_097):  # messages may end within a sample
        client.send(data[at : at + 4_097])
    client.send(END)
    scores = of_type("scores", messages(client))
    assert [(message["start_s"], message["end_s"]) for message in scores] == [(0, 1), (1, 2), (2, 3)]
    assert {message["scores"][0]["label"] for message in scores} == {"low"}


def test_a_stream_shorter_than_a_window_is_padded_as_a_clip_is(service: Service) -> None:
    client, _ = service.open()
    send(client, tone(200, 0.4))
    client.send(END)
    [scores] = of_type("scores", messages(client))
    assert (scores["start_s"], scores["end_s"]) == (0, 0.4)


def test_an_empty_stream_has_no_scores(service: Service) -> None:
    client, _ = service.open()
    client.send(END)
    assert messages(client) == [{"type": "done"}]


@pytest.mark.parametrize(
    ("opening", "named"),
    [
        ("no json", "JSON"),
        ("[]", "object"),
        (json.dumps({**OPENING, "sample_rate": 3_000}), "sample_rate"),
        (json.dumps({**OPENING, "encoding": "mp3"}), "encoding"),
        (json.dumps({"labels": ["low", "high"]}), "encoding"),
        (json.dumps({**OPENING, "hop_s": 2}), "hop_s"),
        (json.dumps({**OPENING, "labels": ["low"]}), "softmax over one label"),
        (json.dumps({**OPENING, "audio": []}), "audio"),
        (b"\0\0", "first message"),
    ],
)
def test_a_first_message_that_makes_no_sense_is_refused(service: Service, opening: str | bytes, named: str) -> None:
    client = service.connect()
    client.send(opening)
    problem = json.loads(client.recv(timeout=20))
    assert (problem["status"], problem["code"]) == (422, "invalid_request")
    assert named in problem["detail"]
    with pytest.raises(ConnectionClosedError):
        client.recv(timeout=20)
    assert client.close_code == 1008


@pytest.mark.parametrize("message", ["hello", '{"type": "stop"}', "[]"])
def test_text_that_is_not_the_end_is_refused(service: Service, message: str) -> None:
    client, _ = service.open()
    client.send(message)
    assert refused(client) == (422, "invalid_request", 1008)


def test_half_a_sample_at_the_end_is_refused(service: Service) -> None:
    client, _ = service.open()
    client.send(b"\0\0\0\0\0\0")
    client.send(END)
    assert refused(client) == (422, "invalid_request", 1008)


def test_samples_that_are_no_numbers_are_refused(service: Service) -> None:
    client, _ = service.open()
    client.send(np.array([0, np.nan], "<f4").tobytes())
    assert refused(client) == (422, "invalid_request", 1008)


def test_a_message_above_the_limit_ends_the_stream(service: Service) -> None:
    client, _ = service.open()
    client.send(bytes((1 << 20) + 1))
    with pytest.raises(ConnectionClosedError):
        client.recv(timeout=20)
    assert client.close_code == 1009


def test_unknown_label_sets_are_refused_and_known_ones_are_scored(service: Service) -> None:
    client = service.connect()
    client.send(json.dumps({**OPENING, "labels": None, "label_set": "absent"}))
    assert refused(client) == (404, "unknown_label_set", 1008)
    httpx2.put(
        f"http://127.0.0.1:{service.port}/v1/label-sets/tones", json={"labels": ["low", "high"]}
    ).raise_for_status()
    client, ready = service.open(labels=None, label_set="tones")
    assert ready["type"] == "ready"
    send(client, tone(3_000, 1))
    client.send(END)
    assert of_type("scores", messages(client))[0]["scores"][0]["label"] == "high"


def test_labels_may_bring_examples(service: Service) -> None:
    from tests.service.api.test_routes import b64

    labels = [
        {"name": "beep", "examples": [{"data": b64(encoded(tone(3_000)))}]},
        {"name": "hum", "examples": [{"data": b64(encoded(tone(200)))}]},
    ]
    client, ready = service.open(labels=labels)
    assert ready["type"] == "ready", ready
    send(client, tone(3_000, 1))
    client.send(END)
    assert of_type("scores", messages(client))[0]["scores"][0]["label"] == "beep"


# Who may open a stream


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        (None, True),
        ("http://{host}", True),
        ("https://app.example", True),
        ("https://evil.example", False),
        ("null", False),
    ],
)
def test_the_origin_is_checked_before_the_stream_is_accepted(listen: Listen, origin: str | None, opens: bool) -> None:
    service = listen(cors_origins=("https://app.example",))
    headers = {} if origin is None else {"Origin": origin.format(host=f"127.0.0.1:{service.port}")}
    if opens:
        assert service.open(headers)[1]["type"] == "ready"
    else:
        with pytest.raises(InvalidStatus) as refusal:
            service.connect(additional_headers=headers)
        assert refusal.value.response.status_code == 403
        assert json.loads(refusal.value.response.body or b"")["code"] == "forbidden_origin"


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("".join(f"{sha256(key.encode()).hexdigest()} {key}\n" for key in ("anna", "ben")))
    return path


def test_a_key_comes_in_a_header_or_in_the_first_message(listen: Listen, keys_file: Path) -> None:
    service = listen(api_keys_file=keys_file)
    assert service.open({"Authorization": "Bearer anna"})[1]["type"] == "ready"
    assert service.open({"X-API-Key": "anna"})[1]["type"] == "ready"
    assert service.open(api_key="anna")[1]["type"] == "ready"
    assert service.open()[1]["code"] == "unauthorized"
    assert service.open(api_key="wrong")[1]["code"] == "unauthorized"
    client = service.connect("/v1/stream?api_key=anna")
    client.send(json.dumps(OPENING))
    assert refused(client) == (401, "unauthorized", 1008)


def test_streams_are_bounded_by_key_and_in_all(listen: Listen, keys_file: Path) -> None:
    service = listen(api_keys_file=keys_file, max_streams=3, max_streams_per_key=2)
    clients = [service.open(api_key="anna")[0] for _ in range(2)]
    assert service.open(api_key="anna")[1]["code"] == "rate_limited"
    assert service.open(api_key="ben")[1]["type"] == "ready"
    assert service.open(api_key="ben")[1]["code"] == "overloaded"
    clients[0].close()
    deadline = time.monotonic() + 10
    while service.open(api_key="anna")[1].get("type") != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_opening_a_stream_takes_a_token_of_the_key(listen: Listen, keys_file: Path) -> None:
    service = listen(api_keys_file=keys_file, rate_limit=0.001, rate_burst=1)
    assert service.open(api_key="anna")[1]["type"] == "ready"
    assert service.open(api_key="anna")[1]["code"] == "rate_limited"


# Time


def test_an_idle_stream_is_closed(listen: Listen) -> None:
    service = listen(stream_idle_s=0.3)
    client, _ = service.open()
    assert refused(client) == (422, "invalid_request", 1008)
    silent = service.connect()
    assert refused(silent) == (422, "invalid_request", 1008)


def test_a_stream_outlives_the_time_limit_of_requests(listen: Listen) -> None:
    service = listen(request_timeout_s=0.3, grace_s=0.3)
    client, _ = service.open()
    time.sleep(1.2)
    send(client, tone(200, 1))
    client.send(END)
    assert messages(client)[-1] == {"type": "done"}


def test_a_live_stream_that_falls_behind_drops_windows_and_says_so(listen: Listen) -> None:
    embedder = SpectralEmbedder()
    embedder.audio_delay_s = 0.8
    client, _ = listen(embedder).open(hop_s=0.25)
    for _ in range(12):  # 3 s of audio in real time, at four windows a second
        send(client, tone(200, 0.25), piece=1 << 16)
        time.sleep(0.25)
    client.send(END)
    received = messages(client)
    dropped = sum(message["windows"] for message in of_type("dropped", received))
    scored = len(of_type("scores", received))
    assert dropped > 0
    assert scored + dropped == 9
    assert received[-1] == {"type": "done"}


def test_a_file_that_is_sent_at_once_is_scored_without_a_loss(listen: Listen) -> None:
    embedder = SpectralEmbedder()
    embedder.audio_delay_s = 0.02
    client, _ = listen(embedder).open(hop_s=0.25)
    send(client, np.tile(tone(200), 20), piece=1 << 19)
    client.send(END)
    received = messages(client)
    assert len(of_type("scores", received)) == 77
    assert not of_type("dropped", received)


def test_a_worker_that_restarts_costs_windows_and_not_the_stream(listen: Listen) -> None:
    embedder = SpectralEmbedder()
    client, _ = listen(embedder).open()
    send(client, tone(200, 2))
    assert [json.loads(client.recv(timeout=20))["type"] for _ in range(2)] == ["scores", "scores"]
    embedder.audio_failure = WorkerUnavailable("the worker died", 1.0)
    send(client, tone(200, 2))
    time.sleep(0.5)
    embedder.audio_failure = None
    send(client, tone(200, 1))
    for _ in range(2):
        assert json.loads(client.recv(timeout=20)) == {"type": "dropped", "windows": 1}
    assert json.loads(client.recv(timeout=20))["start_s"] == 4


def test_a_model_that_is_replaced_ends_the_stream(listen: Listen) -> None:
    from service.ipc.embedding import ModelReplaced

    embedder = SpectralEmbedder()
    client, _ = listen(embedder).open()
    embedder.audio_failure = ModelReplaced()
    send(client, tone(200, 1))
    assert refused(client) == (503, "not_ready", 1011)


def test_a_service_that_stops_closes_its_streams(listen: Listen) -> None:
    service = listen()
    client, _ = service.open()
    service.server.should_exit = True
    with pytest.raises(ConnectionClosedError):
        client.recv(timeout=20)
    assert client.close_code == 1012


def test_streams_are_counted(service: Service) -> None:
    client, _ = service.open()
    send(client, tone(200, 1))
    client.recv(timeout=20)
    text = httpx2.get(f"http://127.0.0.1:{service.port}/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("anysound_stream"))
    assert float(lines["anysound_streams"]) >= 1
    assert float(lines["anysound_stream_lag_seconds_count"]) >= 1
    assert "anysound_stream_windows_dropped_total" in lines
