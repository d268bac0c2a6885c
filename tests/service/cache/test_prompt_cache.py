"""Prompt embeddings from the process, from Redis and from the worker, with a real Redis in every state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest

from model.prompts import Embeddings
from service.cache.prompt_cache import PromptCache, normalised, redis_key
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from service.cache.stored_vectors import rounded
from service.ipc.embedding import DeadlineExceeded, Priority, RejectedItem
from service.observe.metrics import REGISTRY
from tests.service.cache.test_breaker import until_closed
from tests.service.fault_proxy import FaultProxy
from tests.service.redis_server import PASSWORD, USER, RedisServer
from tests.service.spectral import SpectralEmbedder, meaning

PROMPTS = [f"the sound of thing {number}" for number in range(50)]
Processes = Callable[..., Awaitable["Process"]]


class Process:
    """A prompt cache of its own, as each API process has one, and the worker it asks."""

    def __init__(self, redis: RedisLink | None, size: int = 1_000) -> None:
        self.embedder = SpectralEmbedder()
        self.redis = redis
        self.cache = PromptCache(self.embedder, size, redis, ttl_s=86_400)

    async def get(self, *prompts: str) -> dict[str, Embeddings]:
        vectors = await self.cache.get(list(prompts), time.monotonic() + 20, Priority.INTERACTIVE)
        for prompt, vector in vectors.items():
            assert np.array_equal(vector, right(prompt)), prompt
        assert vectors.keys() == set(prompts)
        return vectors


def right(prompt: str) -> Embeddings:
    return np.asarray(rounded(meaning(normalised(prompt))[np.newaxis])[0])


class Counts:
    """The growth of the metric of cache requests since this object was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        [metric] = [each for each in REGISTRY.collect() if each.name == "anysound_cache_requests"]
        return {
            f"{sample.labels['tier']} {sample.labels['result']}": sample.value
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["cache"] == "text"
        }

    def grown(self) -> dict[str, int]:
        now = self._now()
        grown = {name: int(value - self._before.get(name, 0)) for name, value in now.items()}
        return {name: value for name, value in grown.items() if value}


@pytest.fixture
async def start() -> AsyncIterator[Processes]:
    async with AsyncExitStack() as stack:

        async def process(url: str | None = None, size: int = 1_000, read_s: float = 5) -> Process:
            link = None if url is None else await stack.enter_async_context(RedisLink(connect(url), read_s))
            return Process(link, size)

        yield process


# Without Redis


async def test_a_prompt_is_embedded_once(start: Processes) -> None:
    process, counts = await start(), Counts()
    await process.get(*PROMPTS)
    await process.get(*PROMPTS, "one more")
    assert process.embedder.prompts == [*PROMPTS, "one more"]
    assert counts.grown() == {"l1 miss": 51, "l1 hit": 50}


async def test_the_least_recently_used_prompt_is_forgotten_first(start: Processes) -> None:
    process = await start(size=2)
    await process.get("a", "b")
    await process.get("a")
    await process.get("c")
    await process.get("a", "b")
    assert process.embedder.prompts == ["a", "b", "c", "b"]


async def test_a_cache_of_size_zero_keeps_nothing_and_serves(start: Processes) -> None:
    process = await start(size=0)
    await process.get("a")
    await process.get("a")
    assert process.embedder.prompts == ["a", "a"]


async def test_spellings_of_a_prompt_that_say_the_same_are_one_entry(start: Processes) -> None:
    process = await start()
    await process.get("café  noise", " cafe\N{COMBINING ACUTE ACCENT} noise\n")
    assert process.embedder.prompts == ["café noise"]


async def test_a_hundred_requests_at_once_for_the_same_new_labels_compute_each_once(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 0.02
    await asyncio.gather(*(process.get(*PROMPTS) for _ in range(100)))
    assert sorted(process.embedder.prompts) == sorted(PROMPTS)


async def test_requests_that_overlap_in_part_compute_each_prompt_once(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 0.01
    await asyncio.gather(*(process.get(*PROMPTS[first : first + 20]) for first in range(30)))
    assert sorted(process.embedder.prompts) == sorted(PROMPTS[:49])


async def test_whoever_asked_first_may_go_away_without_failing_the_others(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 0.05
    owner = asyncio.create_task(process.get(*PROMPTS))
    await asyncio.sleep(0.01)
    joined = asyncio.create_task(process.get(*PROMPTS))
    await asyncio.sleep(0.01)
    owner.cancel()
    await joined
    assert sorted(process.embedder.prompts) == sorted(PROMPTS)


async def test_a_failure_reaches_everyone_who_waits_and_is_not_kept(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 0.01
    process.embedder.text_failure = RejectedItem("no")
    outcomes = await asyncio.gather(*(process.get("a") for _ in range(5)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {RejectedItem}
    process.embedder.text_failure = None
    await process.get("a")


async def test_each_caller_waits_until_its_own_deadline(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 0.3
    patient = asyncio.create_task(process.get("a"))
    await asyncio.sleep(0.01)
    with pytest.raises(DeadlineExceeded):
        await process.cache.get(["a"], time.monotonic() + 0.05, Priority.INTERACTIVE)
    await patient
    assert process.embedder.prompts == ["a"]


async def test_one_that_nobody_waits_for_any_more_is_cancelled(start: Processes) -> None:
    process = await start()
    process.embedder.text_delay_s = 5
    asking = [asyncio.create_task(process.get("a")) for _ in range(2)]
    for task in asking:
        await asyncio.sleep(0.01)
        assert process.embedder.cancelled == 0
        task.cancel()
    await asyncio.sleep(0.01)
    assert process.embedder.cancelled == 1


# With Redis


async def test_another_process_has_the_prompts_from_redis_to_the_bit(
    start: Processes, redis_server: RedisServer
) -> None:
    first, second, counts = await start(redis_server.url), await start(redis_server.url), Counts()
    computed = await first.get(*PROMPTS)
    await first.cache.flush()
    recalled = await second.get(*PROMPTS)
    assert second.embedder.prompts == []
    assert all(np.array_equal(computed[prompt], recalled[prompt]) for prompt in PROMPTS)
    assert counts.grown() == {"l1 miss": 100, "redis miss": 50, "redis write": 50, "redis hit": 50}


async def test_only_what_redis_lacks_is_computed(start: Processes, redis_server: RedisServer) -> None:
    first, second = await start(redis_server.url), await start(redis_server.url)
    await first.get(*PROMPTS[:30])
    await first.cache.flush()
    await second.get(*PROMPTS)
    assert second.embedder.prompts == PROMPTS[30:]


async def test_what_is_kept_expires(start: Processes, redis_server: RedisServer) -> None:
    process = await start(redis_server.url)
    await process.get("a")
    await process.cache.flush()
    key = redis_key((process.embedder.info.fingerprint, "a"))
    assert b":864" in redis_server.admin("TTL", key) or b":863" in redis_server.admin("TTL", key)


async def test_another_checkpoint_shares_nothing() -> None:
    assert redis_key(("a" * 64, "dog")) != redis_key(("b" * 64, "dog"))


@pytest.mark.parametrize("garbage", [b"", b"garbage", b"asnd\x01\x00\x20\x00\x01\x00\x00\x00" + b"\0" * 64])
async def test_garbage_in_redis_is_a_miss_and_is_written_over(
    garbage: bytes, start: Processes, redis_server: RedisServer
) -> None:
    process, other, counts = await start(redis_server.url), await start(redis_server.url), Counts()
    key = redis_key((process.embedder.info.fingerprint, "a"))
    assert process.redis is not None
    await process.redis.ask(lambda client: client.set(key, garbage), 1.0)
    await process.get("a")
    await process.cache.flush()
    assert counts.grown()["redis corrupt"] == 1
    await other.get("a")
    assert other.embedder.prompts == []


async def test_a_value_of_another_type_in_redis_is_a_miss(start: Processes, redis_server: RedisServer) -> None:
    process = await start(redis_server.url)
    redis_server.admin("HSET", redis_key((process.embedder.info.fingerprint, "a")), "x", "y")
    await process.get("a")


async def test_while_redis_is_down_requests_are_answered_and_the_metric_says_so(
    start: Processes, tmp_path: Path
) -> None:
    process, counts = await start(RedisServer(tmp_path).url), Counts()
    for number in range(20):
        await process.get(f"prompt {number}")
    await process.cache.flush()
    grown = counts.grown()
    assert grown["l1 miss"] == 20
    assert grown["redis bypass"] > grown["redis error"] > 0
    assert grown["redis bypass"] + grown["redis error"] == 20
    assert not any(result in grown for result in ("redis hit", "redis write"))


@pytest.mark.parametrize("fault", ["black hole", "reset"])
async def test_whatever_the_network_does_requests_are_answered(
    fault: str, start: Processes, redis_server: RedisServer
) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        process = await start(f"redis://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}/0", read_s=0.2)
        await process.get("before")
        proxy.fault = fault  # type: ignore[assignment]
        for number in range(10):
            await process.get(f"{fault} {number}")
        proxy.fault = "none"
        assert process.redis is not None
        await until_closed(process.redis.breaker)
        await process.cache.flush()
        counts = Counts()
        await process.get("after")
        await process.cache.flush()
        assert counts.grown() == {"l1 miss": 1, "redis miss": 1, "redis write": 1}


async def test_a_full_redis_is_read_and_the_metric_says_what_it_refuses(start: Processes, tmp_path: Path) -> None:
    with RedisServer(tmp_path, options=("maxmemory-policy noeviction",)) as server:
        first, second, counts = await start(server.url), await start(server.url), Counts()
        await first.get("kept")
        await first.cache.flush()
        server.admin("CONFIG", "SET", "maxmemory", "1")
        await first.get("refused")
        await first.cache.flush()
        await second.get("kept")
        assert second.embedder.prompts == []
        assert counts.grown()["redis write_full"] == 1


async def test_a_restarted_redis_is_filled_again(start: Processes, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        process, other = await start(server.url), await start(server.url)
        await process.get("a")
        await process.cache.flush()
        server.kill()
        await process.get("b")
        server.start()
        await process.get("c")
        await process.cache.flush()
        await other.get("c")
        assert other.embedder.prompts == []
