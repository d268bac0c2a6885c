"""One request takes only so much: audio, answer, memory."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from model.audio import Limits
from service.api.problems import Problem
from service.api.request_bounds import RequestBounds
from service.decoding.pool import DecodePool
from service.decoding.shape import Shape
from tests.service.api.test_routes import b64, form, problem
from tests.service.conftest import Serve, encoded
from tests.service.spectral import CONFIG, RATE, SpectralEmbedder, tone

LABELS = ["low", "high"]


def test_the_clips_of_a_request_are_bounded_together(serve: Serve) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, max_request_audio_seconds=5)
    files = [("audio", (f"{number}.flac", encoded(np.zeros(2 * RATE, np.float32), "FLAC"))) for number in range(3)]
    answer = client.post("/v1/classify", files=files, data={"labels": LABELS})
    assert problem(answer) == (413, "audio_too_long")
    assert "5 s" in answer.json()["detail"]
    assert client.post("/v1/classify", files=files[:2], data={"labels": LABELS}).status_code == 200
    inputs = [b64(file[1][1]) for file in files]
    assert problem(client.post("/v1/embeddings", json={"input": inputs, "modality": "audio"})) == (
        413,
        "audio_too_long",
    )


def test_an_answer_is_bounded_before_anything_is_decoded_where_that_is_known(serve: Serve, low: bytes) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, max_answer_bytes=1_000)
    labels = [f"label {number}" for number in range(50)]
    answer = form(client, low, labels=labels)
    assert problem(answer) == (422, "invalid_request")
    assert "1000 bytes" in answer.json()["detail"]
    assert embedder.reserved == 0
    assert form(client, low, labels=labels, top_k=5).status_code == 200


def test_a_timeline_is_bounded_once_the_clip_is_decoded(serve: Serve) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, max_answer_bytes=2_000)
    clip = encoded(tone(200, 20), "FLAC")
    assert problem(form(client, clip, labels=LABELS, timeline=True)) == (422, "invalid_request")
    assert embedder.windows == 0
    assert form(client, clip, labels=LABELS).status_code == 200


def test_the_bound_is_above_the_answer_it_allows() -> None:
    bounds = RequestBounds(max_seconds=10, max_answer_bytes=450, max_windows=10)
    bounds.answer(1, ["a", "b"], None, timeline=True)
    bounds.decoded(1, 1)
    with pytest.raises(Problem, match="more than 450 bytes"):
        bounds.decoded(1, 1)


def test_an_answer_that_would_fill_the_memory_is_refused(serve: Serve) -> None:
    labels = [f"label {number} {'x' * 150}" for number in range(100)]
    clip = encoded(tone(200, 20), "FLAC")
    client = serve(max_inflight_bytes=200_000)
    answer = form(client, clip, labels=labels, timeline=True)
    assert problem(answer) == (503, "overloaded")
    assert answer.headers["retry-after"]
    assert form(client, clip, labels=labels).status_code == 200, "what was held is given back"


async def test_clips_wait_while_the_windows_of_earlier_ones_fill_their_memory() -> None:
    shape = Shape.of(CONFIG.front_end)
    clip = encoded(tone(200, 4))
    async with DecodePool(1, Limits(max_seconds=10), windows_bytes=4 * RATE * 4) as pool:
        held = await pool.decode(clip, shape)
        waiting = asyncio.create_task(pool.decode(clip, shape))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        del held
        assert (await waiting).duration_s == 4
