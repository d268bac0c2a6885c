"""The connection to Redis. Whatever state Redis is in, a request waits for it no longer than a budget."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from service.cache.breaker import Breaker

log = logging.getLogger("anysound.redis")

T = TypeVar("T")

PREFIX = "anysound:v1:"
"""The prefix of every key."""
PATIENT_S = 1.0
"""Time limit for work that is not on the path of a classification: writes, probes, new connections, label sets."""


class RedisFailed(Exception):
    """Redis did not answer in time, or answered with an error."""


class RedisBypassed(RedisFailed):
    """Redis was not asked because the breaker is open."""


class RedisFull(RedisFailed):
    """Redis answers but has no memory for more data."""


class RedisLink:
    """A client with a time budget and a circuit breaker. `async with RedisLink(connect(url), read_s) as redis`.

    `read_s` is how long a request waits for one answer.
    """

    def __init__(self, client: Redis, read_s: float) -> None:
        self._client = client
        self._read_s = read_s
        self.breaker = Breaker(self._probe)

    async def __aenter__(self) -> RedisLink:
        # Connect now, not in the first request. Nothing waits for it: Redis may start later.
        self._warming = asyncio.create_task(self._warm_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._warming.cancel()
        await self.breaker.close()
        with contextlib.suppress(RedisError, OSError):
            await self._client.aclose()

    async def ask(self, question: Callable[[Redis], Awaitable[T]], budget_s: float | None = None) -> T:
        """The answer to `question`, within `budget_s` (by default `read_s`). Raises RedisFailed."""
        if self.breaker.open:
            raise RedisBypassed
        era = self.breaker.era
        try:
            async with asyncio.timeout(self._read_s if budget_s is None else budget_s):
                answer = await question(self._client)
        except OutOfMemoryError as error:
            self.breaker.succeeded()  # a full server still answers reads
            raise RedisFull from error
        except ResponseError as error:
            self.breaker.succeeded()  # it answers: the value or the user's rights are at fault
            raise RedisFailed(type(error).__name__) from error
        except (RedisError, OSError, TimeoutError) as error:
            self.breaker.failed(era)
            raise RedisFailed(type(error).__name__) from error
        self.breaker.succeeded()
        return answer

    async def _probe(self) -> None:
        async with asyncio.timeout(PATIENT_S):
            await self._client.ping()

    async def _warm_up(self) -> None:
        try:
            await self._probe()
            memory = await self._client.info("memory")
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("Redis does not answer yet, or INFO is not allowed: %s", type(error).__name__)
            return
        if str(memory.get("maxmemory_policy", "")).startswith("allkeys"):
            log.warning("Redis may evict label sets; set its maxmemory-policy to volatile-lfu")
