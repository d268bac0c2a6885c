"""Token buckets: each key may ask so often, and a little more in a burst."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from service.cache.lru import Lru
from service.cache.redis_link import PREFIX, RedisFailed, RedisLink

MOST_BUCKETS = 10_000


@dataclass(frozen=True)
class Rate:
    """So many requests a second, and `burst` at once after a pause."""

    per_s: float
    burst: int

    def take(self, tokens: float, elapsed_s: float) -> tuple[float, float]:
        """From the tokens in a bucket and the time since: the tokens left, and how long to wait (0: go ahead)."""
        tokens = min(float(self.burst), tokens + elapsed_s * self.per_s)
        return (tokens - 1, 0.0) if tokens >= 1 else (tokens, (1 - tokens) / self.per_s)


class Buckets:
    """A bucket a key in this process."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._buckets: Lru[str, tuple[float, float]] = Lru(MOST_BUCKETS)

    async def take(self, key: str) -> float:
        """Seconds until a request may come; 0 where this one may."""
        now = self._clock()
        tokens, at = self._buckets.get(key) or (float(self._rate.burst), now)
        left, wait_s = self._rate.take(tokens, now - at)
        self._buckets.put(key, (left, now))
        return wait_s


class SharedBuckets:
    """A bucket a key in Redis, one for all processes; while Redis is away, one in each."""

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
        redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
        return string.format('%.6f', wait)
    """
    """`Rate.take` with the server's clock."""

    def __init__(self, rate: Rate, redis: RedisLink) -> None:
        self._rate = rate
        self._redis = redis
        self._own = Buckets(rate)

    async def take(self, key: str) -> float:
        """Seconds until a request may come; 0 where this one may."""
        words: tuple[Any, ...] = (self.TAKE, 1, f"{PREFIX}bucket:{key}", self._rate.per_s, self._rate.burst)
        try:
            wait_s = await self._redis.ask(lambda redis: cast("Awaitable[bytes]", redis.eval(*words)))
        except RedisFailed:
            return await self._own.take(key)
        return float(wait_s)
