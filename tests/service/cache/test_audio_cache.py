"""Audio embeddings by content."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from service.cache.audio_cache import AudioCache
from service.cache.stored_vectors import rounded
from service.ipc.embedding import DeadlineExceeded, Embedded
from service.settings import MIB
from tests.service.api.test_routes import form
from tests.service.conftest import Serve, encoded
from tests.service.redis_server import RedisServer
from tests.service.spectral import RATE, SpectralEmbedder, spectra, tone

CLIP = spectra(np.stack([tone(200), tone(3_000)]))
EMBEDDED_KEYS = 5
"""A recording, two labels and two background prompts."""


def later() -> float:
    return time.monotonic() + 20


class Work:
    """A forward pass that can be counted, slow, and cancelled."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.passes = 0
        self.cancelled = 0

    async def __call__(self, fingerprint: str) -> Embedded:
        assert fingerprint == SpectralEmbedder().info.fingerprint
        self.passes += 1
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Embedded(CLIP, 0.0, 0.25)


async def test_the_same_windows_are_embedded_once() -> None:
    cache, work = AudioCache(SpectralEmbedder(), MIB, None, ttl_s=60), Work()
    first, second = await cache.get("a", later(), work), await cache.get("a", later(), work)
    assert work.passes == 1
    assert np.array_equal(first, second)
    assert np.array_equal(first, rounded(CLIP))


async def test_the_oldest_go_when_the_bytes_are_used_up() -> None:
    cache, work = AudioCache(SpectralEmbedder(), 2 * CLIP.nbytes, None, ttl_s=60), Work()
    for digest in "abcab":
        await cache.get(digest, later(), work)
    assert work.passes == 5


async def test_a_forward_pass_that_nobody_waits_for_is_cancelled() -> None:
    cache, work = AudioCache(SpectralEmbedder(), MIB, None, ttl_s=60), Work(5)
    waiting = [asyncio.create_task(cache.get("a", later(), work)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    assert work.cancelled == 0
    waiting[1].cancel()
    await asyncio.sleep(0.01)
    assert (work.passes, work.cancelled) == (1, 1)


async def test_who_asks_again_after_that_is_not_cancelled_with_it() -> None:
    cache, work = AudioCache(SpectralEmbedder(), MIB, None, ttl_s=60), Work(5)
    gone = asyncio.create_task(cache.get("a", later(), work))
    await asyncio.sleep(0.01)
    gone.cancel()
    quick = Work()
    asked = asyncio.create_task(cache.get("a", later(), quick))
    assert np.array_equal(await asked, rounded(CLIP))


async def test_one_callers_deadline_is_not_anothers() -> None:
    cache = AudioCache(SpectralEmbedder(), MIB, None, ttl_s=60)

    async def hurried(_: str) -> Embedded:
        await asyncio.sleep(0.01)
        raise DeadlineExceeded("passed")

    first = asyncio.create_task(cache.get("a", later(), hurried))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.get("a", later(), Work()))
    with pytest.raises(DeadlineExceeded):
        await first
    assert np.array_equal(await second, rounded(CLIP))


# Through the service


def test_new_labels_on_the_same_recording_cost_no_forward_pass(serve: Serve) -> None:
    samples = (tone(200) * 32_767).astype(np.int16)
    low = encoded(samples, "WAV")
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=MIB)
    for labels in (["low", "high"], ["rain", "wind"]):
        assert form(client, low, labels=labels).status_code == 200
    assert embedder.windows == 1
    # The same samples in another container are the same recording.
    assert form(client, encoded(samples, "FLAC"), labels=["low", "rain"]).status_code == 200
    assert embedder.windows == 1


def test_a_recalled_recording_scores_the_same_to_the_bit(serve: Serve, low_then_high: bytes) -> None:
    client = serve(audio_cache_bytes=MIB)
    first, second = (
        form(client, low_then_high, labels=["low", "high"], timeline=True).json()["results"] for _ in range(2)
    )
    assert first == second


def test_switched_off_every_request_is_a_forward_pass(serve: Serve, low: bytes) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=0)
    for _ in range(2):
        assert form(client, low, labels=["low", "high"]).status_code == 200
    assert embedder.windows == 2


def test_another_process_has_the_recording_from_redis(serve: Serve, low: bytes, redis_server: RedisServer) -> None:
    embedders = [SpectralEmbedder(), SpectralEmbedder()]
    first, second = (serve(embedder, redis_url=redis_server.url, audio_cache_bytes=MIB) for embedder in embedders)
    computed = form(first, low, labels=["low", "high"]).json()
    wait_for_write(redis_server)
    assert form(second, low, labels=["low", "high"]).json() == computed
    assert [embedder.windows for embedder in embedders] == [1, 0]
    assert embedders[1].prompts == []


def wait_for_write(server: RedisServer) -> None:
    """Wait until the recording and all prompts are in Redis."""
    end = time.monotonic() + 10
    while server.admin("DBSIZE") != b":%d\r\n" % EMBEDDED_KEYS:
        assert time.monotonic() < end, "the embeddings were not written"
        time.sleep(0.01)


def test_a_recording_that_differs_by_one_sample_is_another(serve: Serve) -> None:
    embedder = SpectralEmbedder()
    client = serve(embedder, audio_cache_bytes=MIB)
    samples = tone(200)
    form(client, encoded(samples), labels=["low", "high"])
    samples[RATE // 2] += 0.01
    form(client, encoded(samples), labels=["low", "high"])
    assert embedder.windows == 2
