"""Label sets in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from redis.asyncio import Redis

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import StoredForm, Summary
from service.api.label_sets.quota import Quota
from service.api.label_sets.set_name import SetName
from service.api.label_sets.store import StoreFailed, check_change
from service.cache.redis_link import PATIENT_S, PREFIX, RedisFailed, RedisLink

TRIES = 100
"""Attempts at a change while other processes change the same set."""
CHANGED, DONE, OVER = range(3)


class RedisStore:
    """One hash of documents and one of their summaries. They have no expiry, so `volatile` policies never evict them.

    A summary that cannot be read counts as no set: it can be replaced.
    """

    storage = "redis"
    may_be_away = True
    DOCUMENTS = f"{PREFIX}{{label-sets}}:documents"
    SUMMARIES = f"{PREFIX}{{label-sets}}:summaries"
    """The braces put both hashes into one slot of a Redis cluster."""

    CHANGE = """
        local name, expected, document, summary, owner = unpack(ARGV, 1, 5)
        local before = redis.call('HGET', KEYS[2], name) or ''
        if before ~= expected then return {0, before} end
        if document == '' then
            redis.call('HDEL', KEYS[1], name)
            redis.call('HDEL', KEYS[2], name)
            return {1, before}
        end
        local function bytes(text) return tonumber(string.match(text, ' (%d+)$')) or 0 end
        local new = bytes(summary)
        local used = {1, 1, new, new}
        local rows = redis.call('HGETALL', KEYS[2])
        for at = 1, #rows, 2 do
            if rows[at] ~= name then
                local size = bytes(rows[at + 1])
                used[1], used[3] = used[1] + 1, used[3] + size
                if string.sub(rows[at], 1, #owner + 1) == owner .. '/' then
                    used[2], used[4] = used[2] + 1, used[4] + size
                end
            end
        end
        for which = 1, 4 do
            if used[which] > tonumber(ARGV[5 + which]) then return {2, which - 1} end
        end
        redis.call('HSET', KEYS[1], name, document)
        redis.call('HSET', KEYS[2], name, summary)
        return {1, before}
    """
    """Compare and swap, and `Quota.check`. ARGV: name, the summary that must be stored, the new document and summary,
    the owner, and the owner's four limits. Returns one of CHANGED, DONE, OVER, and what goes with it."""

    def __init__(self, redis: RedisLink, quota: Quota) -> None:
        self._redis = redis
        self._quota = quota

    async def find(self, names: Sequence[SetName]) -> list[Summary | None]:
        fields = list(map(str, names))
        return [_summary(each) for each in await self._ask(lambda redis: redis.hmget(self.SUMMARIES, fields), None)]

    async def summaries(self) -> dict[SetName, Summary]:
        found = {}
        for field, value in (await self._ask(lambda redis: redis.hgetall(self.SUMMARIES))).items():
            if (summary := _summary(value)) is not None and (name := _name(field)) is not None:
                found[name] = summary
        return found

    async def document(self, name: SetName) -> bytes | None:
        document: bytes | None = await self._ask(lambda redis: redis.hget(self.DOCUMENTS, str(name)))
        return document

    async def change(self, name: SetName, new: StoredForm | None, condition: Condition) -> Summary | None:
        stored: bytes = await self._ask(lambda redis: redis.hget(self.SUMMARIES, str(name))) or b""
        document, summary = (b"", "") if new is None else (new.document, str(new.summary))
        for _ in range(TRIES):
            before = _summary(stored)
            check_change(name, before, new, condition)
            words = (str(name), stored, document, summary, name.owner, *self._quota.limits(name.owner))
            outcome, value = await self._eval(*words)
            if outcome == DONE:
                return before
            if outcome == OVER:
                raise self._quota.refusal(value)
            stored = value
        raise StoreFailed("the label set changes too often")

    async def _eval(self, *words: Any) -> tuple[int, Any]:
        keys = (self.DOCUMENTS, self.SUMMARIES)
        outcome, value = await self._ask(lambda redis: redis.eval(self.CHANGE, len(keys), *keys, *words))
        return outcome, value

    async def _ask(self, question: Callable[[Redis], Any], budget_s: float | None = PATIENT_S) -> Any:
        try:
            # The library's type hints say that commands may return their value at once; this client's never do.
            return await self._redis.ask(cast("Callable[[Redis], Awaitable[Any]]", question), budget_s)
        except RedisFailed as error:
            raise StoreFailed(str(error)) from error


def _summary(value: bytes | None) -> Summary | None:
    try:
        return Summary.read((value or b"").decode())
    except ValueError:
        return None


def _name(field: bytes) -> SetName | None:
    try:
        return SetName.read(field.decode())
    except ValueError:
        return None
