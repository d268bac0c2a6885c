"""Registered label sets: sent once, then named. Every API process sees a change from the moment it was answered."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
from collections.abc import Awaitable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from model.prompts import Label
from service.api.problems import Code, Problem
from service.cache.lru import Lru
from service.cache.redis_link import PATIENT_S, RedisFailed, RedisLink

MAX_SETS = 1_000
COPIED_BYTES = 64 << 20
"""Of the sets that a process has at hand."""
FOLLOW_S = 5.0
"""How often a process looks for sets that it has not seen: what it has copied it can serve while Redis is away."""
RETRY_S = 2.0


@dataclass(frozen=True)
class LabelSet:
    """Labels and, optionally, the template they go into."""

    id: str
    labels: tuple[Label, ...]
    template: str | None

    @cached_property
    def document(self) -> str:
        """As it is stored; the same content gives the same text."""
        return json.dumps(
            {"id": self.id, "labels": [asdict(label) for label in self.labels], "template": self.template}
        )

    @cached_property
    def etag(self) -> str:
        """Names this version of the content."""
        return f'"{hashlib.sha256(self.document.encode()).hexdigest()[:32]}"'

    @classmethod
    def read(cls, document: str | bytes) -> LabelSet:
        """Raises ValueError, KeyError or TypeError for what is no document of ours."""
        fields = json.loads(document)
        labels = [
            Label(label["name"], tuple(label["prompts"]), tuple(label["negative_prompts"]))
            for label in fields["labels"]
        ]
        return cls(fields["id"], tuple(labels), fields["template"])

    def to_json(self, storage: str) -> dict[str, Any]:
        return {**json.loads(self.document), "storage": storage}


@dataclass(frozen=True)
class Condition:
    """If-Match and If-None-Match of a change."""

    if_match: str | None = None
    if_none_match: str | None = None

    def holds(self, etag: str | None) -> bool:
        """For the version that is stored, or None for none."""
        if self.if_none_match is not None and _matches(self.if_none_match, etag):
            return False
        return self.if_match is None or _matches(self.if_match, etag)


def _matches(wanted: str, etag: str | None) -> bool:
    return etag is not None and (wanted.strip() == "*" or etag in (each.strip() for each in wanted.split(",")))


class Shelf(Protocol):
    """Where sets are kept, for all API processes. Raises RedisFailed where it cannot be reached."""

    storage: str

    async def etag(self, id: str) -> str | None: ...

    async def etags(self) -> dict[str, str]: ...

    async def get(self, id: str) -> LabelSet | None: ...

    async def change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        """Put `new` in the place of what is there, or remove it; the etag that was there. Raises Problem."""
        ...


def check(id: str, etag: str | None, new: LabelSet | None, condition: Condition, count: int) -> None:
    """Raise Problem where a change is not to be made."""
    if new is None and etag is None:
        raise unknown(id)
    if not condition.holds(etag):
        raise Problem(Code.PRECONDITION_FAILED, "The stored label set is not the version that the request names.")
    if new is not None and etag is None and count >= MAX_SETS:
        raise Problem(Code.INVALID_REQUEST, f"There are {MAX_SETS} label sets already; delete one first.")


def unknown(id: str) -> Problem:
    return Problem(Code.UNKNOWN_LABEL_SET, f"There is no label set {id[:200]!r}.")


class FolderShelf:
    """Files in a folder that the API processes of one service share. They end with the service: to users, memory."""

    storage = "memory"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def etag(self, id: str) -> str | None:
        with contextlib.suppress(FileNotFoundError), self._path(id).open(encoding="utf-8") as file:
            return file.readline().rstrip("\n")
        return None

    async def etags(self) -> dict[str, str]:
        return {name: etag for name in self._ids() if (etag := await self.etag(name)) is not None}

    async def get(self, id: str) -> LabelSet | None:
        with contextlib.suppress(FileNotFoundError):
            return LabelSet.read(self._path(id).read_text(encoding="utf-8").partition("\n")[2])
        return None

    async def change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        with self._locked():
            before = await self.etag(id)
            check(id, before, new, condition, len(self._ids()))
            if new is None:
                self._path(id).unlink()
            else:
                partial = self._folder / "partial"
                partial.write_text(f"{new.etag}\n{new.document}", encoding="utf-8")
                partial.rename(self._path(id))  # whoever reads has the old set or the new one
        return before

    def _path(self, id: str) -> Path:
        return self._folder / f"{id.encode().hex()}.set"

    def _ids(self) -> list[str]:
        return [bytes.fromhex(path.stem).decode() for path in self._folder.glob("*.set")]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class RedisShelf:
    """Two hashes in Redis, of documents and of their etags. They have no expiry, so a `volatile` policy keeps them."""

    storage = "redis"
    DOCUMENTS = "anysound:{label-sets}:documents"
    ETAGS = "anysound:{label-sets}:etags"

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
    """Compare and swap: ARGV is the id, the etag that must be there, the new document and its etag."""

    def __init__(self, redis: RedisLink) -> None:
        self._redis = redis

    async def etag(self, id: str, budget_s: float | None = None) -> str | None:
        etag = await self._redis.ask(lambda redis: _answer(redis.hget(self.ETAGS, id)), budget_s)
        return None if etag is None else etag.decode()

    async def etags(self) -> dict[str, str]:
        etags = await self._redis.ask(lambda redis: _answer(redis.hgetall(self.ETAGS)), PATIENT_S)
        return {name.decode(): etag.decode() for name, etag in etags.items()}

    async def get(self, id: str) -> LabelSet | None:
        document = await self._redis.ask(lambda redis: _answer(redis.hget(self.DOCUMENTS, id)), PATIENT_S)
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
            count = await self._redis.ask(lambda redis: _answer(redis.hlen(self.ETAGS)), PATIENT_S)
            check(id, before, new, condition, count)
            found, done = await self._swap(id, before or "", document, etag)
            before = found.decode() or None
            if done:
                return before

    async def _swap(self, *words: str) -> tuple[bytes, int]:
        keys = (self.DOCUMENTS, self.ETAGS)
        found, done = await self._redis.ask(
            lambda redis: _answer(redis.eval(self.CHANGE, len(keys), *keys, *words)), PATIENT_S
        )
        return found, done


def _answer(given: Any) -> Awaitable[Any]:
    """The library's hints say of most commands that they may not be awaited."""
    return cast("Awaitable[Any]", given)


class LabelSets:
    """Sets by id, with copies of those this process has seen. `async with LabelSets(shelf) as sets`."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._copies: Lru[str, LabelSet] = Lru(COPIED_BYTES, lambda label_set: len(label_set.document))

    @property
    def storage(self) -> str:
        """`redis`, or `memory`, which ends with the service."""
        return self._shelf.storage

    async def __aenter__(self) -> LabelSets:
        self._following = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._following.cancel()
        await asyncio.wait([self._following])

    async def get(self, id: str) -> LabelSet:
        """The latest version; while Redis is away, the latest that this process has seen. Raises Problem."""
        copy = self._copies.get(id)
        try:
            etag = await self._shelf.etag(id)
            if copy is None or copy.etag != etag:
                copy = None if etag is None else await self._shelf.get(id)
        except RedisFailed as error:
            if copy is None:
                raise away() from error
        if copy is None:
            self._copies.drop(id)
            raise unknown(id)
        self._copies.put(id, copy)
        return copy

    async def put(self, label_set: LabelSet, condition: Condition) -> bool:
        """Store a set whole; True where it is new. Raises Problem."""
        return await self._change(label_set.id, label_set, condition) is None

    async def delete(self, id: str, condition: Condition) -> None:
        """Raises Problem where there is none, or not the version that the condition names."""
        await self._change(id, None, condition)

    async def all(self) -> list[LabelSet]:
        """By id. Raises Problem."""
        try:
            etags = await self._shelf.etags()
        except RedisFailed as error:
            raise away() from error
        sets = []
        for name in sorted(etags):
            with contextlib.suppress(Problem):  # gone since
                sets.append(await self.get(name))
        return sets

    async def _change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        try:
            before = await self._shelf.change(id, new, condition)
        except RedisFailed as error:
            raise away() from error
        self._copies.drop(id)
        return before

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(RedisFailed, Problem, OSError):
                for name, etag in (await self._shelf.etags()).items():
                    copy = self._copies.get(name)
                    if copy is None or copy.etag != etag:
                        await self.get(name)
            await asyncio.sleep(FOLLOW_S)


def away() -> Problem:
    return Problem(Code.NOT_READY, "The label sets cannot be reached at the moment.", retry_after_s=RETRY_S)
