"""Label sets of API processes that share a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from model.prompts import Label
from service.api.label_sets.condition import Condition
from service.api.label_sets.folder_store import FolderStore
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.quota import Quota
from service.api.label_sets.redis_store import RedisStore
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.store import Store
from service.api.problems import Code, Problem
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from tests.service.redis_server import RedisServer

Processes = Callable[..., Awaitable[LabelSets]]
ANY = Condition()
ROOMY = Quota(1_000, 1_000, 64 << 20, 64 << 20)


def animals(*names: str, called: str = "animals", template: str | None = None) -> LabelSet:
    return LabelSet(called, tuple(map(Label, names)), template)


async def code_of(change: Awaitable[object]) -> Code:
    with pytest.raises(Problem) as caught:
        await change
    return caught.value.code


async def linked(stack: AsyncExitStack, server: RedisServer, quota: Quota = ROOMY) -> RedisStore:
    """A store with a connection of its own."""
    return RedisStore(await stack.enter_async_context(RedisLink(connect(server.url), read_s=5)), quota)


@pytest.fixture(params=["folder", "redis"])
async def processes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Processes]:
    """Makes the label sets of one more API process of a service."""
    async with AsyncExitStack() as stack:

        async def start(quota: Quota = ROOMY) -> LabelSets:
            store: Store = FolderStore(tmp_path / "sets", quota)
            if request.param == "redis":
                store = await linked(stack, request.getfixturevalue("redis_server"), quota)
            return await stack.enter_async_context(LabelSets(store))

        if request.param == "redis":
            request.getfixturevalue("redis_server")
        yield start
