"""Token buckets: a limit on the average rate of each caller's requests, and on the size of a burst."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from service.cache.lru import Lru
from service.cache.redis_link import PREFIX, RedisFailed, RedisLink

MAX_BUCKETS = 10_000
"""Buckets kept per process; the least recently used are dropped first."""
LONGEST_S = 365 * 86_400
"""How long Redis keeps a bucket that fills very slowly."""


@dataclass(frozen=True)
class Rate:
    """`per_s` requests per second on average, and up to `burst` at once after a pause."""

    per_s: float
    burst: int

    def take(self, tokens: float, elapsed_s: float) -> tuple[float, float]:
        """The tokens that are left in a bucket after a request, and the seconds it has to wait; 0 if it may go on."""
        tokens = min(float(self.burst), tokens + elapsed_s * self.per_s)
        return (tokens - 1, 0.0) if tokens >= 1 else (tokens, (1 - tokens) / self.per_s)


class Buckets:
    """One bucket per caller, in this process."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: Lru[str, tuple[float, float]] = Lru(MAX_BUCKETS)

    async def take(self, key: str) -> float:
        """Take a token for a request. Returns the seconds it has to wait; 0 if it may go on."""
        now = self._clock()
        tokens, at = self._buckets.get(key) or (float(self._rate.burst), now)
        left, wait_s = self._rate.take(tokens, now - at)
        self._buckets.put(key, (left, now))
        return wait_s


class SharedBuckets:
    """One bucket per caller in Redis, for all processes; while Redis is away, one in each process."""

    TAKE = """
        local time = redis.call('TIME')
        local now = time[1] + time[2] / 1e6
        local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
        local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
        local elapsed = math.max(0, now - (tonumber(bucket[2]) or now))
        local tokens = math.min(burst, (tonumber(bucket[1]) or burst) + elapsed * rate)
        local wait = 0
        if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end
        redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
        redis.call('EXPIRE', KEYS[1], math.min(math.ceil(burst / rate) + 1, tonumber(ARGV[3])))
        return string.format('%.6f', wait)
    """
    """`Rate.take` with the server's clock."""

    def __init__(self, rate: Rate, redis: RedisLink) -> None:
        self._rate = rate
        self._redis = redis
        self._own = Buckets(rate)

    async def take(self, key: str) -> float:
        """Take a token for a request. Returns the seconds it has to wait; 0 if it may go on."""
        words: tuple[Any, ...] = (self.TAKE, 1, f"{PREFIX}bucket:{key}", self._rate.per_s, self._rate.burst, LONGEST_S)
        try:
            wait_s = await self._redis.ask(lambda redis: cast("Awaitable[bytes]", redis.eval(*words)))
        except RedisFailed:
            return await self._own.take(key)
        seconds = float(wait_s)
        # Only a bucket that somebody has edited in Redis can hold no number or too large a wait.
        return seconds if 0 <= seconds <= 1 / self._rate.per_s + 1 else await self._own.take(key)
