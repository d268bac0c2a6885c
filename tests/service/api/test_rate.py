"""Token buckets, in the process and in Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.rate import Buckets, Rate, SharedBuckets
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from tests.service.redis_server import READ_S, RedisServer

SLOW = Rate(per_s=0.01, burst=3)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_burst_may_come_and_then_one_at_a_time() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_s=2, burst=3), clock)
    assert [await buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now += 0.25
    assert await buckets.take("a") == 0.25
    clock.now += 0.25
    assert [await buckets.take("a") for _ in range(2)] == [0, 0.5]


async def test_a_pause_fills_the_bucket_and_no_more() -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_s=2, burst=3), clock)
    await buckets.take("a")
    clock.now += 1_000
    assert [await buckets.take("a") > 0 for _ in range(4)] == [False, False, False, True]


async def test_each_key_has_its_own() -> None:
    buckets = Buckets(Rate(per_s=1, burst=1))
    assert await buckets.take("a") == 0
    assert await buckets.take("b") == 0


@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 5), st.integers(1, 10))
def test_nobody_gets_more_than_the_burst_and_the_rate(pauses: list[float], per_s: float, burst: int) -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_s, burst), clock)

    async def ask() -> int:
        served = 0
        for pause in pauses:
            clock.now += pause
            served += await buckets.take("a") == 0
        return served

    assert asyncio.run(ask()) <= burst + sum(pauses) * per_s + 1e-6


async def test_processes_share_a_bucket_in_redis(redis_server: RedisServer) -> None:
    async with (
        RedisLink(connect(redis_server.url), read_s=5) as one,
        RedisLink(connect(redis_server.url), read_s=5) as other,
    ):
        members = [SharedBuckets(SLOW, one), SharedBuckets(SLOW, other)]
        waits = [await members[number % 2].take("a") for number in range(4)]
        assert waits[:3] == [0, 0, 0]
        assert 90 < waits[3] <= 100


async def test_requests_at_once_take_a_token_each(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        buckets = SharedBuckets(SLOW, redis)
        await buckets.take("warm")
        waits = await asyncio.gather(*(buckets.take("a") for _ in range(10)))
        assert sum(wait == 0 for wait in waits) == 3


async def test_a_bucket_in_redis_fills_with_time_and_is_forgotten_when_full(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        buckets = SharedBuckets(Rate(per_s=2, burst=1), redis)
        assert await buckets.take("a") == 0
        assert await buckets.take("a") > 0
        await asyncio.sleep(0.6)
        assert await buckets.take("a") == 0
        assert redis_server.admin("TTL", "anysound:v1:bucket:a").endswith(b":2\r\n")


@pytest.mark.parametrize("tokens", ["nan", "-inf", "inf", "-1e300", "text", ""])
@pytest.mark.parametrize("at", ["nan", "inf", "-inf", "text"])
async def test_a_bucket_that_was_tampered_with_still_bounds_and_never_fails(
    tokens: str, at: str, redis_server: RedisServer
) -> None:
    redis_server.admin("HSET", "anysound:v1:bucket:a", "tokens", tokens, "at", at)
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        buckets = SharedBuckets(SLOW, redis)
        waits = [await buckets.take("a") for _ in range(8)]
        assert all(0 <= wait <= 101 for wait in waits)
        assert waits[-1] > 0


async def test_a_bucket_of_another_type_is_counted_here(redis_server: RedisServer) -> None:
    redis_server.admin("SET", "anysound:v1:bucket:a", "text")
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        buckets = SharedBuckets(SLOW, redis)
        assert [await buckets.take("a") > 0 for _ in range(4)] == [False, False, False, True]


async def test_a_very_slow_rate_is_counted_in_redis_too(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        assert await SharedBuckets(Rate(1e-18, 1), redis).take("a") == 0
        assert int(redis_server.admin("TTL", "anysound:v1:bucket:a").rpartition(b":")[2]) > 86_400


async def test_a_process_keeps_so_many_buckets_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.rate.MAX_BUCKETS", 2)
    buckets = Buckets(Rate(per_s=0.01, burst=1))
    for caller in "abc":
        assert await buckets.take(caller) == 0
    assert await buckets.take("c") > 0
    assert await buckets.take("a") == 0, "the least recently used was forgotten"


async def test_while_redis_is_away_each_process_counts_for_itself(tmp_path: Path) -> None:
    async with RedisLink(connect(RedisServer(tmp_path).url), READ_S) as redis:
        buckets = SharedBuckets(SLOW, redis)
        assert [await buckets.take("a") > 0 for _ in range(5)] == [False, False, False, True, True]
