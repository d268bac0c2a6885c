"""Single flight, deadlines, and reads and writes in parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest

from model.prompts import Embeddings
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from service.cache.vector_cache import VectorCache
from service.ipc.embedding import DeadlineExceeded, EmbeddingError, RejectedItem
from tests.service.cache.test_prompt_cache import Counts
from tests.service.fault_proxy import FaultProxy
from tests.service.redis_server import PASSWORD, USER, RedisServer

DIM = 4
VECTOR = np.eye(1, DIM, dtype=np.float32)


def later() -> float:
    return time.monotonic() + 20


def cache(redis: RedisLink | None = None) -> VectorCache[str]:
    return VectorCache("text", 100_000, lambda key: f"anysound:v1:test:{key}", redis, ttl_s=60)


async def embed(keys: list[str]) -> Sequence[Embeddings]:
    return [VECTOR for _ in keys]


class Failing:
    """Embeds with somebody's deadline: fails after a moment."""

    def __init__(self, error: EmbeddingError) -> None:
        self.error = error
        self.asked = 0

    async def __call__(self, _: list[str]) -> Sequence[Embeddings]:
        self.asked += 1
        await asyncio.sleep(0.01)
        raise self.error


async def test_the_deadlines_of_several_others_are_not_this_callers() -> None:
    vectors, hurried = cache(), Failing(DeadlineExceeded("passed"))
    others = [asyncio.create_task(vectors.get(["a"], DIM, later(), hurried)) for _ in range(5)]
    await asyncio.sleep(0)
    assert np.array_equal((await vectors.get(["a"], DIM, later(), embed))["a"], VECTOR)
    outcomes = await asyncio.gather(*others, return_exceptions=True)
    assert any(isinstance(outcome, DeadlineExceeded) for outcome in outcomes)


async def test_a_caller_with_an_earlier_deadline_does_not_wait_for_anothers() -> None:
    vectors, computed = cache(), asyncio.Event()

    async def slow(keys: list[str]) -> Sequence[Embeddings]:
        await computed.wait()
        return await embed(keys)

    patient = asyncio.create_task(vectors.get(["a"], DIM, later(), slow))
    await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded):
        await vectors.get(["a"], DIM, time.monotonic() + 0.01, embed)
    computed.set()
    assert np.array_equal((await patient)["a"], VECTOR)


async def test_an_item_that_cannot_be_embedded_is_tried_at_most_once_more_for_those_who_waited() -> None:
    vectors, poison = cache(), Failing(RejectedItem("no"))
    outcomes = await asyncio.gather(
        *(vectors.get(["a"], DIM, later(), poison) for _ in range(20)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {RejectedItem}
    assert poison.asked == 2


async def test_a_failure_costs_only_the_keys_that_failed() -> None:
    vectors, failing = cache(), Failing(DeadlineExceeded("passed"))
    other = asyncio.create_task(vectors.get(["a"], DIM, later(), failing))
    await asyncio.sleep(0)
    asked: list[str] = []

    async def counting(keys: list[str]) -> Sequence[Embeddings]:
        asked.extend(keys)
        return await embed(keys)

    assert (await vectors.get(["a", "b"], DIM, later(), counting)).keys() == {"a", "b"}
    assert sorted(asked) == ["a", "b"]
    with pytest.raises(DeadlineExceeded):
        await other


async def test_thousands_of_keys_are_read_and_written_in_parts(redis_server: RedisServer) -> None:
    keys = [f"{number}" for number in range(3_000)]
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        first = cache(redis)
        await first.get(keys, DIM, later(), embed)
        await first.flush()

        async def nothing(keys: list[str]) -> Sequence[Embeddings]:
            raise AssertionError(f"{len(keys)} keys are not in Redis")

        assert len(await cache(redis).get(keys, DIM, later(), nothing)) == 3_000


async def test_a_silent_redis_costs_one_budget_however_many_keys_are_asked_for(redis_server: RedisServer) -> None:
    async with FaultProxy(redis_server.port) as proxy:
        url = f"redis://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}/0"
        async with RedisLink(connect(url), read_s=0.5) as redis:
            proxy.fault = "black hole"
            vectors, counts = cache(redis), Counts()
            await vectors.get([f"{number}" for number in range(3_000)], DIM, later(), embed)
            assert counts.grown()["redis error"] == 3_000, "the first part that fails is the last that is asked for"
            await vectors.flush()


async def test_values_that_wait_for_redis_have_a_limit_in_bytes(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cache.vector_cache.WRITE_BYTES", 300 * (12 + 2 * DIM))
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        vectors = cache(redis)
        for start in (0, 1_000):
            await vectors.get([f"{start + number}" for number in range(256)], DIM, later(), embed)
            assert vectors._write_bytes <= 300 * (12 + 2 * DIM)
        await vectors.flush()
        assert vectors._write_bytes == 0
