"""A cache of embeddings with two tiers, the process and Redis. Misses are computed once for all who wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from redis.asyncio import Redis

from model.prompts import Embeddings
from service.cache.lru import Lru
from service.cache.redis_link import PATIENT_S, RedisBypassed, RedisFailed, RedisFull, RedisLink
from service.cache.stored_vectors import BadValue, pack, rounded, unpack
from service.ipc.embedding import DeadlineExceeded, EmbeddingError
from service.observe import stages
from service.observe.metrics import CACHE_REQUESTS

K = TypeVar("K", bound=Hashable)
Compute = Callable[[list[K]], Awaitable[Sequence[Embeddings]]]

PART = 256
"""Keys per question to Redis; the event loop serves other requests between two questions."""
WRITES, WRITE_BYTES = 64, 32 << 20
"""Writes that may wait for Redis at once, and their values; further ones are dropped."""
FLUSH_S = 5.0
"""How long a stopping process waits for its writes."""


@dataclass
class Flight(Generic[K]):
    """Keys that are being fetched together. `waiting` counts the callers that wait for any of them."""

    futures: dict[K, asyncio.Future[Embeddings]]
    waiting: int = 0
    task: asyncio.Task[None] | None = None


class VectorCache(Generic[K]):
    """Looks in the process, then in Redis with MGET, then calls `compute`. Redis is written after the answer.

    `redis_key` gives a key's name in Redis, `weigh` an entry's share of `limit`. Callers that ask for the same key at
    the same time share one flight, which is a task: a caller that goes away fails none of the others. A flight that
    nobody waits for is cancelled.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        redis_key: Callable[[K], str],
        redis: RedisLink | None,
        ttl_s: int,
        weigh: Callable[[Embeddings], int] = lambda _: 1,
    ) -> None:
        self._name = name
        self._redis_key = redis_key
        self._redis = redis
        self._ttl_s = ttl_s
        self._kept: Lru[K, Embeddings] = Lru(limit, weigh)
        self._flights: dict[K, Flight[K]] = {}
        self._writes: set[asyncio.Task[None]] = set()
        self._write_bytes = 0

    async def get(self, keys: Sequence[K], dim: int, deadline: float, compute: Compute[K]) -> dict[K, Embeddings]:
        """The embeddings [rows, d] of distinct keys, by `deadline` in `time.monotonic()` seconds.

        Raises what `compute` raises, and DeadlineExceeded also while another caller has the keys computed.
        """
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self._get(keys, dim, compute)
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed") from None

    async def _get(self, keys: Sequence[K], dim: int, compute: Compute[K]) -> dict[K, Embeddings]:
        found: dict[K, Embeddings] = {}
        for key in keys:
            if (vectors := self._kept.get(key)) is not None:
                found[key] = vectors
        self._count("l1", "hit", len(found))
        missing = [key for key in keys if key not in found]
        if not missing:
            stages.mark("cache")
        else:
            self._count("l1", "miss", len(missing))
            failures = await self._join(missing, dim, compute, found)
            if failures:
                # Those flights had the deadline and reservation of another caller. Try again with this caller's own.
                failures = await self._join(list(failures), dim, compute, found)
            while failures:
                for error in failures.values():
                    if not isinstance(error, DeadlineExceeded):
                        raise error
                failures = await self._join(list(failures), dim, compute, found)
        return found

    async def flush(self) -> None:
        """Wait for the writes to Redis that are under way."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=FLUSH_S)

    async def _join(
        self, keys: list[K], dim: int, compute: Compute[K], found: dict[K, Embeddings]
    ) -> dict[K, EmbeddingError]:
        """Wait for the flights of `keys`; those in no flight start one, whose failure is raised.

        Returns the keys whose flight was another caller's and failed, and why.
        """
        fresh = [key for key in keys if key not in self._flights]
        if fresh:
            loop = asyncio.get_running_loop()
            flight = Flight({key: loop.create_future() for key in fresh})
            self._flights.update(dict.fromkeys(fresh, flight))
            flight.task = asyncio.create_task(self._fly(flight, dim, compute))
        flights = {id(flight): flight for flight in (self._flights[key] for key in keys)}.values()
        futures = {key: self._flights[key].futures[key] for key in keys}
        for flight in flights:
            flight.waiting += 1
        try:
            await asyncio.wait(futures.values())
        finally:
            for flight in flights:
                flight.waiting -= 1
                if not flight.waiting:
                    self._abandon(flight)
        failures = {}
        for key, future in futures.items():
            error = future.exception()
            if error is None:
                found[key] = future.result()
            elif isinstance(error, EmbeddingError) and key not in fresh:
                failures[key] = error
            else:
                raise error
        return failures

    async def _fly(self, flight: Flight[K], dim: int, compute: Compute[K]) -> None:
        keys = list(flight.futures)
        try:
            for key, vectors in (await self._recall(keys, dim)).items():
                self._land(flight, key, vectors)
            stages.mark("cache")
            unknown = [key for key in keys if not flight.futures[key].done()]
            if unknown:
                computed = list(zip(unknown, await compute(unknown), strict=True))
                for start in range(0, len(computed), PART):
                    part = [(key, rounded(vectors)) for key, vectors in computed[start : start + PART]]
                    for key, vectors in part:
                        self._land(flight, key, vectors)
                    self._write(part)
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            for future in flight.futures.values():
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - raised in those who wait
            for future in flight.futures.values():
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # marks it as retrieved: nobody may be waiting any more
        finally:
            self._forget(flight)

    def _abandon(self, flight: Flight[K]) -> None:
        self._forget(flight)  # forgotten first, so that nobody joins a flight that is being cancelled
        if flight.task is not None:
            flight.task.cancel()

    def _forget(self, flight: Flight[K]) -> None:
        for key in flight.futures:
            if self._flights.get(key) is flight:
                del self._flights[key]

    def _land(self, flight: Flight[K], key: K, vectors: Embeddings) -> None:
        flight.futures[key].set_result(vectors)
        self._kept.put(key, vectors)

    # Redis

    async def _recall(self, keys: list[K], dim: int) -> dict[K, Embeddings]:
        """The embeddings that Redis has. Every fault of Redis or of a value is a miss."""
        recalled: dict[K, Embeddings] = {}
        if self._redis is None:
            return recalled
        for start in range(0, len(keys), PART):
            part = keys[start : start + PART]
            names = [self._redis_key(key) for key in part]

            async def read(redis: Redis, names: list[str] = names) -> list[bytes | str | None]:
                values: list[bytes | str | None] = await redis.mget(names)
                return values

            try:
                values = await self._redis.ask(read)
            except RedisFailed as error:
                self._count("redis", "bypass" if isinstance(error, RedisBypassed) else "error", len(keys) - start)
                break
            found, corrupt = 0, 0
            for key, value in zip(part, values, strict=True):
                if isinstance(value, bytes):
                    try:
                        recalled[key] = unpack(value, dim)
                        found += 1
                    except BadValue:
                        corrupt += 1
            self._count("redis", "hit", found)
            self._count("redis", "corrupt", corrupt)
            self._count("redis", "miss", len(part) - found - corrupt)
        return recalled

    def _write(self, vectors: list[tuple[K, Embeddings]]) -> None:
        """Start writing up to `PART` embeddings, without waiting for it."""
        if self._redis is None:
            return
        entries = [(self._redis_key(key), pack(value)) for key, value in vectors]
        size = sum(len(value) for _, value in entries)
        if len(self._writes) >= WRITES or self._write_bytes + size > WRITE_BYTES:
            self._count("redis", "write_dropped", len(entries))
            return
        self._write_bytes += size
        task = asyncio.create_task(self._put(self._redis, entries))
        self._writes.add(task)
        task.add_done_callback(lambda task: self._written(task, size))

    def _written(self, task: asyncio.Task[None], size: int) -> None:
        self._writes.discard(task)
        self._write_bytes -= size

    async def _put(self, redis: RedisLink, entries: list[tuple[str, bytes]]) -> None:
        async def put(client: Redis) -> None:
            async with client.pipeline(transaction=False) as pipeline:
                for name, value in entries:
                    pipeline.set(name, value, ex=self._ttl_s)
                await pipeline.execute()

        try:
            await redis.ask(put, PATIENT_S)
        except RedisBypassed:
            self._count("redis", "write_bypass", len(entries))
        except RedisFull:
            self._count("redis", "write_full", len(entries))
        except RedisFailed:
            self._count("redis", "write_error", len(entries))
        else:
            self._count("redis", "write", len(entries))

    def _count(self, tier: str, result: str, number: int) -> None:
        if number:
            CACHE_REQUESTS.labels(self._name, tier, result).inc(number)
