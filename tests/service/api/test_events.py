"""`events`, `threshold` and `hop_s` of a classification, in all three encodings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import numpy as np
import pytest
from starlette.testclient import TestClient

from service.ipc.embedding import Overloaded
from tests.service.api.test_routes import b64, form, problem
from tests.service.conftest import Serve, encoded
from tests.service.spectral import RATE, SpectralEmbedder, tone

LABELS = ["low", "high"]


@pytest.fixture(scope="module")
def clip() -> bytes:
    """12 s of noise with a low tone from 3 s to 5.5 s and a high one from 8 s to 9 s."""
    samples = 1e-3 * np.random.default_rng(0).standard_normal(12 * RATE).astype(np.float32)
    samples[3 * RATE : int(5.5 * RATE)] += tone(200, 2.5)
    samples[8 * RATE : 9 * RATE] += tone(3_000, 1)
    return encoded(samples, "FLAC")


def as_form(client: TestClient, clip: bytes, **fields: Any) -> httpx2.Response:
    return form(client, clip, **fields)


def as_json(client: TestClient, clip: bytes, **fields: Any) -> httpx2.Response:
    return client.post("/v1/classify", json={"audio": {"data": b64(clip)}, **fields})


def as_body(client: TestClient, clip: bytes, **fields: Any) -> httpx2.Response:
    return client.post("/v1/classify", params=fields, content=clip, headers={"Content-Type": "audio/flac"})


Send = Callable[..., httpx2.Response]


@pytest.mark.parametrize("send", [as_form, as_json, as_body])
def test_events_say_where_each_label_is_heard(serve: Serve, clip: bytes, send: Send) -> None:
    answer = send(serve(), clip, labels=LABELS, events=True, hop_s=0.25, threshold=0.8)
    [result] = answer.json()["results"]
    assert [event["label"] for event in result["events"]] == ["low", "high"]
    low, high = result["events"]
    assert (low["start_s"], low["end_s"]) == pytest.approx((3, 5.5), abs=0.25)
    assert (high["start_s"], high["end_s"]) == pytest.approx((8, 9), abs=0.25)
    assert 0.5 < low["score"] <= 1
    assert "timeline" not in result


def test_the_hop_sets_the_windows_of_the_timeline_and_not_the_scores(serve: Serve, clip: bytes) -> None:
    client = serve()
    [own] = form(client, clip, labels=LABELS, timeline=True).json()["results"]
    [sliding] = form(client, clip, labels=LABELS, timeline=True, hop_s=0.5).json()["results"]
    assert sliding["scores"] == own["scores"]
    assert [window["start_s"] for window in own["timeline"]] == list(range(12))
    assert [window["start_s"] for window in sliding["timeline"]] == [half / 2 for half in range(23)]
    assert sliding["timeline"][::2] == own["timeline"]


def test_every_window_is_embedded_once_whatever_the_hop(serve: Serve, clip: bytes) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=1 << 20)
    asked = []
    for hop_s in (None, 0.5, 0.25, 0.5, None):
        before = embedder.windows
        form(client, clip, labels=LABELS, timeline=True, **({} if hop_s is None else {"hop_s": hop_s}))
        asked.append(embedder.windows - before)
    assert asked == [12, 11, 22, 0, 0]


def test_without_timeline_or_events_the_hop_costs_nothing(serve: Serve, clip: bytes) -> None:
    embedder = SpectralEmbedder()
    form(serve(embedder), clip, labels=LABELS, hop_s=0.25)
    assert embedder.windows == 12


def test_a_label_may_have_a_threshold_of_its_own(serve: Serve, clip: bytes) -> None:
    labels = json.dumps([{"name": "low", "threshold": 1}, "high"])
    [result] = form(serve(), clip, labels=labels, events=True, hop_s=0.5).json()["results"]
    assert {event["label"] for event in result["events"]} == {"high"}
    [result] = form(serve(), clip, labels=LABELS, events=True, threshold=1).json()["results"]
    assert result["events"] == []


def test_events_are_by_the_sigmoid_whatever_the_activation(serve: Serve, clip: bytes) -> None:
    answers = [
        form(serve(), clip, labels=LABELS, events=True, hop_s=0.5, activation=activation).json()["results"][0]
        for activation in ("softmax", "sigmoid")
    ]
    assert answers[0]["events"] == answers[1]["events"] != []
    assert answers[0]["scores"] != answers[1]["scores"]


def test_a_registered_set_keeps_thresholds_and_sets_without_them_keep_their_etag(serve: Serve, clip: bytes) -> None:
    client = serve()
    plain = client.put("/v1/label-sets/plain", json={"labels": LABELS})
    assert "threshold" not in plain.text
    labels = [{"name": "low", "threshold": 1.0}, "high"]
    stored = client.put("/v1/label-sets/tuned", json={"labels": labels})
    assert stored.json()["labels"][0]["threshold"] == 1.0
    assert stored.headers["etag"] != plain.headers["etag"]
    [result] = form(client, clip, label_set="tuned", events=True, hop_s=0.5).json()["results"]
    assert {event["label"] for event in result["events"]} == {"high"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hop_s": 0.2}, "hop_s"),
        ({"hop_s": 1.5}, "window of 1 s"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": "nan"}, "threshold"),
        ({"hop_s": "nan"}, "hop_s"),
        ({"events": "maybe"}, "events"),
        ({"labels": '[{"name": "low", "threshold": -1}]'}, "threshold"),
    ],
)
def test_what_is_out_of_bounds_is_refused(serve: Serve, clip: bytes, fields: dict[str, Any], named: str) -> None:
    answer = form(serve(), clip, **{"labels": LABELS, "events": True, **fields})
    assert problem(answer) == (422, "invalid_request")
    assert named in answer.json()["detail"]


def test_the_windows_of_a_request_are_bounded(serve: Serve, clip: bytes) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, max_request_windows=40)
    answer = form(client, clip, labels=LABELS, events=True, hop_s=0.25, threshold=0.8)
    assert problem(answer) == (422, "invalid_request")
    assert "45 windows" in answer.json()["detail"]
    assert embedder.windows == 0
    assert form(client, clip, labels=LABELS, events=True, hop_s=0.5).status_code == 200


def test_the_events_of_an_answer_are_bounded(serve: Serve) -> None:
    beeps = np.concatenate([np.concatenate([tone(200, 1), np.zeros(RATE, np.float32)]) for _ in range(10)])
    client = serve(max_answer_bytes=1_000)
    answer = form(client, encoded(beeps, "FLAC"), labels=["low"], activation="sigmoid", events=True)
    assert problem(answer) == (422, "invalid_request")


def test_a_queue_that_is_full_for_a_while_delays_the_windows(serve: Serve, clip: bytes) -> None:
    class Busy(SpectralEmbedder):
        refusals = 0

        async def embed_audio(self, windows: Any, **options: Any) -> Any:
            if self.windows > 12 and self.refusals < 3:
                self.refusals += 1
                raise Overloaded("full", 0.01)
            return await super().embed_audio(windows, **options)

    embedder = Busy()
    answer = form(serve(embedder), clip, labels=LABELS, timeline=True, hop_s=0.25)
    assert answer.status_code == 200
    assert embedder.refusals == 3
