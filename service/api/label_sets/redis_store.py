"""Label sets in Redis."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.store import check
from service.cache.redis_link import PATIENT_S, PREFIX, RedisFailed, RedisLink


class RedisStore:
    """One hash of documents and one of their etags. They have no expiry, so `volatile` policies never evict them."""

    storage = "redis"
    DOCUMENTS = f"{PREFIX}{{label-sets}}:documents"
    ETAGS = f"{PREFIX}{{label-sets}}:etags"
    """The braces put both hashes into one slot of a Redis cluster."""

    CHANGE = """
        local before = redis.call('HGET', KEYS[2], ARGV[1])
        if (before or '') ~= ARGV[2] then return {before or '', 0} end
        if ARGV[3] == '' then
            redis.call('HDEL', KEYS[1], ARGV[1])
            redis.call('HDEL', KEYS[2], ARGV[1])
        else
            redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
            redis.call('HSET', KEYS[2], ARGV[1], ARGV[4])
        end
        return {before or '', 1}
    """
    """Compare and swap. ARGV: the id, the etag that must be stored, the new document, its etag."""

    def __init__(self, redis: RedisLink) -> None:
        self._redis = redis

    async def etag(self, id: str, budget_s: float | None = None) -> str | None:
        etag = await self._redis.ask(lambda redis: _awaitable(redis.hget(self.ETAGS, id)), budget_s)
        return None if etag is None else etag.decode()

    async def etags(self) -> dict[str, str]:
        etags = await self._redis.ask(lambda redis: _awaitable(redis.hgetall(self.ETAGS)), PATIENT_S)
        return {name.decode(): etag.decode() for name, etag in etags.items()}

    async def get(self, id: str) -> LabelSet | None:
        document = await self._redis.ask(lambda redis: _awaitable(redis.hget(self.DOCUMENTS, id)), PATIENT_S)
        if document is None:
            return None
        try:
            return LabelSet.read(document)
        except (ValueError, KeyError, TypeError) as error:
            raise RedisFailed("the document of a label set is garbage") from error

    async def change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        before = await self.etag(id, PATIENT_S)
        document, etag = ("", "") if new is None else (new.document, new.etag)
        while True:
            count = await self._redis.ask(lambda redis: _awaitable(redis.hlen(self.ETAGS)), PATIENT_S)
            check(id, before, new, condition, count)
            found, done = await self._swap(id, before or "", document, etag)
            before = found.decode() or None
            if done:
                return before

    async def _swap(self, *words: str) -> tuple[bytes, int]:
        keys = (self.DOCUMENTS, self.ETAGS)
        found, done = await self._redis.ask(
            lambda redis: _awaitable(redis.eval(self.CHANGE, len(keys), *keys, *words)), PATIENT_S
        )
        return found, done


def _awaitable(answer: Any) -> Awaitable[Any]:
    """The library's type hints say that most commands may return their value at once; this client's never do."""
    return cast("Awaitable[Any]", answer)
