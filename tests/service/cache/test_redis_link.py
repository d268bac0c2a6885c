"""The connection to a real Redis that is well, slow, silent, gone, full, or guarded by an access list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.cache.redis_client import connect
from service.cache.redis_link import RedisBypassed, RedisFailed, RedisFull, RedisLink
from tests.service.api.test_routes import form
from tests.service.cache.test_breaker import until_closed
from tests.service.conftest import Serve
from tests.service.fault_proxy import FaultProxy
from tests.service.redis_server import PASSWORD, READ_S, USER, RedisServer


async def hello(redis: Redis) -> bytes | str | None:
    answer: bytes | str | None = await redis.get("anysound:hello")
    return answer


@pytest.fixture
async def proxy(redis_server: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(redis_server.port) as proxy:
        yield proxy


def through(proxy: FaultProxy) -> RedisLink:
    return RedisLink(connect(f"redis://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}/0"), READ_S)


async def test_asks_and_is_answered(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), READ_S) as redis:
        assert await redis.ask(hello) is None
        await redis.ask(lambda client: client.set("anysound:hello", b"there"))
        assert await redis.ask(hello) == b"there"


async def test_a_server_that_is_not_there_is_found_out_at_once_and_then_left_alone(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with RedisLink(connect(server.url), READ_S) as redis:
        for _ in range(3):
            with pytest.raises(RedisFailed):
                await redis.ask(hello)
        with pytest.raises(RedisBypassed):
            await redis.ask(hello)
        with server:
            await until_closed(redis.breaker)
            assert await redis.ask(hello) is None


async def test_a_black_hole_costs_the_budget_and_no_more(proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    async with through(proxy) as redis:
        await redis.ask(hello, 1.0)
        proxy.fault = "black hole"
        for _ in range(3):
            began = loop.time()
            with pytest.raises(RedisFailed):
                await redis.ask(hello)
            assert loop.time() - began < 1.0, "the library's own way is 4 s"
        assert redis.breaker.open
        proxy.fault = "none"
        await until_closed(redis.breaker)
        assert await redis.ask(hello, 1.0) is None


async def test_connections_that_are_reset_are_made_again(proxy: FaultProxy) -> None:
    async with through(proxy) as redis:
        await redis.ask(hello, 1.0)
        proxy.fault = "reset"
        with pytest.raises(RedisFailed):
            await redis.ask(hello)
        proxy.fault = "none"
        assert await redis.ask(hello, 1.0) is None


async def test_an_answer_that_comes_too_late_is_never_taken_for_another(proxy: FaultProxy) -> None:
    async with through(proxy) as redis:
        await redis.ask(lambda client: client.set("anysound:a", b"a"), 1.0)
        await redis.ask(lambda client: client.set("anysound:b", b"b"), 1.0)
        proxy.delay_s = 0.1
        with pytest.raises(RedisFailed):
            await redis.ask(lambda client: client.get("anysound:a"))
        proxy.delay_s = 0.0
        assert await redis.ask(lambda client: client.get("anysound:b"), 1.0) == b"b"


async def test_a_restarted_server_is_used_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with RedisLink(connect(server.url), READ_S) as redis:
            await redis.ask(hello, 1.0)
            server.kill()
            with pytest.raises(RedisFailed):
                await redis.ask(hello)
            server.start()
            assert await redis.ask(hello, 1.0) is None


async def test_a_full_server_is_told_from_a_broken_one(tmp_path: Path) -> None:
    with RedisServer(tmp_path, options=("maxmemory 1", "maxmemory-policy noeviction")) as server:
        async with RedisLink(connect(server.url), READ_S) as redis:
            for _ in range(5):
                with pytest.raises(RedisFull):
                    await redis.ask(lambda client: client.set("anysound:x", b"x"), 1.0)
            assert await redis.ask(hello, 1.0) is None


async def test_the_access_list_of_the_documentation_is_enough_and_no_more(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), READ_S) as redis:
        with pytest.raises(RedisFailed):
            await redis.ask(lambda client: client.get("others:key"), 1.0)
        with pytest.raises(RedisFailed):
            await redis.ask(lambda client: client.flushall(), 1.0)


async def test_an_error_that_redis_answers_does_not_open_the_breaker(redis_server: RedisServer) -> None:
    async with RedisLink(connect(redis_server.url), read_s=5) as redis:
        redis_server.admin("SET", "anysound:text", "x")
        for _ in range(5):
            with pytest.raises(RedisFailed):
                await redis.ask(lambda client: client.hget("anysound:text", "x"))
            with pytest.raises(RedisFailed):
                await redis.ask(lambda client: client.get("others:key"))
        assert await redis.ask(hello) is None


async def test_a_password_rotated_while_serving_is_used_by_the_next_connections(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    with RedisServer(tmp_path) as server:
        async with RedisLink(connect(f"redis://{USER}@127.0.0.1:{server.port}", file), read_s=5) as redis:
            assert await redis.ask(hello) is None
            server.admin("ACL", "SETUSER", USER, "resetpass", ">tomorrow's")
            assert await redis.ask(hello) is None, "a connection that is open stays open"
            server.admin("CLIENT", "KILL", "USER", USER)
            for content in (b"", b"\xff", b"wrong"):
                file.write_bytes(content)
                with pytest.raises(RedisFailed):
                    await redis.ask(hello)
            file.write_text("tomorrow's\n")
            await until_closed(redis.breaker)
            assert await redis.ask(hello) is None


async def test_a_warning_tells_of_a_policy_that_would_evict_label_sets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(tmp_path, options=("maxmemory-policy allkeys-lfu",)) as server:
        async with RedisLink(connect(server.url), READ_S) as redis:
            await redis._warming
    assert "volatile-lfu" in caplog.text


def test_a_service_starts_and_is_ready_without_its_redis(serve: Serve, tmp_path: Path, low: bytes) -> None:
    client = serve(redis_url=RedisServer(tmp_path).url)
    assert client.get("/readyz").status_code == 200
    for _ in range(5):
        assert form(client, low, labels=["low", "high"]).status_code == 200
    assert client.get("/readyz").status_code == 200
