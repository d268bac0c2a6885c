"""The label sets as an API process sees them: those of the store, with copies of what it has read."""

from __future__ import annotations

import asyncio
import contextlib

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.store import Store, unknown
from service.api.problems import Code, Problem
from service.cache.lru import Lru
from service.cache.redis_link import RedisFailed

COPIES_BYTES = 64 << 20
FOLLOW_S = 5.0
"""How often a process copies new sets: while Redis is away it serves its copies."""
RETRY_S = 2.0


class LabelSets:
    """Sets by id. Every API process sees a change once it is answered. `async with LabelSets(store) as sets`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copies: Lru[str, LabelSet] = Lru(COPIES_BYTES, lambda label_set: len(label_set.document))

    @property
    def storage(self) -> str:
        """`redis`, or `memory` if the sets end with the service."""
        return self._store.storage

    async def __aenter__(self) -> LabelSets:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.wait([self._following])

    async def get(self, id: str) -> LabelSet:
        """The stored version, or this process' copy while the store is away. Raises Problem."""
        copy = self._copies.get(id)
        try:
            etag = await self._store.etag(id)
            if copy is None or copy.etag != etag:
                copy = None if etag is None else await self._store.get(id)
        except RedisFailed as error:
            if copy is None:
                raise away() from error
        if copy is None:
            self._copies.drop(id)
            raise unknown(id)
        self._copies.put(id, copy)
        return copy

    async def put(self, label_set: LabelSet, condition: Condition) -> bool:
        """Create or replace a set; True if it was created. Raises Problem."""
        return await self._change(label_set.id, label_set, condition) is None

    async def delete(self, id: str, condition: Condition) -> None:
        """Raises Problem if there is no such set, or if its version is not the one that the condition names."""
        await self._change(id, None, condition)

    async def all(self) -> list[LabelSet]:
        """In the order of their ids. Raises Problem."""
        try:
            etags = await self._store.etags()
        except RedisFailed as error:
            raise away() from error
        sets = []
        for name in sorted(etags):
            with contextlib.suppress(Problem):  # deleted since
                sets.append(await self.get(name))
        return sets

    async def _change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        try:
            before = await self._store.change(id, new, condition)
        except RedisFailed as error:
            raise away() from error
        self._copies.drop(id)
        return before

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(RedisFailed, Problem, OSError):
                for name, etag in (await self._store.etags()).items():
                    copy = self._copies.get(name)
                    if copy is None or copy.etag != etag:
                        await self.get(name)
            await asyncio.sleep(FOLLOW_S)


def away() -> Problem:
    return Problem(Code.NOT_READY, "The label sets cannot be reached at the moment.", retry_after_s=RETRY_S)
