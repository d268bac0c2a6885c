"""The label sets as an API process sees them: those of the store, with copies of what it has read."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet, StoredForm, Summary
from service.api.label_sets.set_name import SHARED, SetName, readable
from service.api.label_sets.store import Store, StoreFailed, unknown
from service.api.problems import Code, Problem
from service.cache.lru import Lru
from service.offload import off_loop

log = logging.getLogger("anysound.label_sets")

COPIES_BYTES = 64 << 20
FOLLOW_S = 5.0
"""How often a process refreshes its copies of sets: it serves them while the store is away."""
RETRY_S = 2.0
BRIEF_TEXTS, BRIEF_BYTES = 100, 10_000
"""Sets up to this size are written and read on the event loop."""


class BadDocument(StoreFailed):
    """What is stored under the name of a label set is not a label set."""


class LabelSets:
    """Sets by owner and id. Every API process sees a change once it is answered. `async with LabelSets(store) as sets`.

    A caller reads its own sets and the shared ones, its own first, and changes only its own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copies: Lru[SetName, LabelSet] = Lru(COPIES_BYTES, lambda label_set: label_set.memory_bytes)
        self._loads: dict[tuple[SetName, str], asyncio.Task[LabelSet | None]] = {}
        self._following: asyncio.Task[None] | None = None

    @property
    def storage(self) -> str:
        """`redis`, or `memory` if the sets end with the service."""
        return self._store.storage

    async def __aenter__(self) -> LabelSets:
        if self._store.may_be_away:
            self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = {*self._loads.values(), *([self._following] if self._following else [])}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def get(self, id: str, owner: str) -> LabelSet:
        """The stored version, or this process' copy while the store is away. Raises Problem."""
        names = readable(owner, id)
        try:
            for name, summary in zip(names, await self._store.find(names) if names else [], strict=True):
                if summary is None:
                    self._copies.drop(name)
                elif (label_set := await self._current(name, summary.etag)) is not None:
                    return label_set
        except StoreFailed as error:
            copies = (self._copies.get(name) for name in names)
            if copy := next((copy for copy in copies if copy is not None), None):
                return copy
            raise away() from error
        raise unknown(id)

    async def put(self, label_set: LabelSet, condition: Condition, owner: str) -> bool:
        """Create or replace a set; True if it was created. Raises Problem."""
        new = await off_loop(label_set.texts <= BRIEF_TEXTS, StoredForm.of, label_set)
        return await self._change(SetName(owner, label_set.id), new, condition) is None

    async def delete(self, id: str, condition: Condition, owner: str) -> None:
        """Raises Problem if the caller has no such set, or if its version is not the one that the condition names."""
        if not readable(owner, id):
            raise unknown(id)
        await self._change(SetName(owner, id), None, condition)

    async def summaries(self, owner: str) -> list[tuple[SetName, Summary]]:
        """The summaries of the caller's sets, and of shared sets whose id it does not use itself, ordered by id.

        Raises Problem.
        """
        try:
            stored = await self._store.summaries()
        except StoreFailed as error:
            raise away() from error
        shared = {name.id: (name, summary) for name, summary in stored.items() if name.owner == SHARED}
        own = {name.id: (name, summary) for name, summary in stored.items() if name.owner == owner}
        return [row for _, row in sorted((shared | own).items())]

    async def _change(self, name: SetName, new: StoredForm | None, condition: Condition) -> Summary | None:
        try:
            before = await self._store.change(name, new, condition)
        except StoreFailed as error:
            raise away() from error
        self._copies.drop(name)
        return before

    async def _current(self, name: SetName, etag: str) -> LabelSet | None:
        """The version that has this etag, or a later one; None if the set was deleted. Raises StoreFailed.

        Requests that need the same version at the same time read it once.
        """
        copy = self._copies.get(name)
        if copy is not None and copy.etag == etag:
            return copy
        load = self._loads.get((name, etag))
        if load is None:
            load = self._loads[name, etag] = asyncio.create_task(self._load(name))
            load.add_done_callback(lambda load: self._loaded(name, etag, load))
        return await asyncio.shield(load)

    def _loaded(self, name: SetName, etag: str, load: asyncio.Task[LabelSet | None]) -> None:
        del self._loads[name, etag]
        if not load.cancelled():
            load.exception()  # marks it as retrieved: nobody may be waiting any more

    async def _load(self, name: SetName) -> LabelSet | None:
        document = await self._store.document(name)
        if document is None:
            self._copies.drop(name)
            return None
        try:
            label_set = await off_loop(len(document) <= BRIEF_BYTES, LabelSet.read, document)
            if label_set.id != name.id:
                raise ValueError("the document of another label set")
        except ValueError:
            log.error("what is stored as label set %s is not one", name)
            raise BadDocument from None
        self._copies.put(name, label_set)
        return label_set

    async def _follow(self) -> None:
        seen: dict[SetName, str] = {}
        while True:
            with contextlib.suppress(StoreFailed):
                stored = {name: summary.etag for name, summary in (await self._store.summaries()).items()}
                for name in seen.keys() - stored.keys():
                    self._copies.drop(name)
                    del seen[name]
                for name, etag in stored.items():
                    if seen.get(name) != etag:
                        with contextlib.suppress(BadDocument):  # it is read again once it has changed
                            await self._current(name, etag)
                        seen[name] = etag
            await asyncio.sleep(FOLLOW_S)


def away() -> Problem:
    return Problem(Code.NOT_READY, "The label sets cannot be read or changed at the moment.", retry_after_s=RETRY_S)
