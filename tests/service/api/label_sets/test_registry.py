"""Label sets of several API processes and several callers, in a folder and in a real Redis."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from model.prompts import Label
from service.api.label_sets.condition import Condition
from service.api.label_sets.folder_store import FolderStore
from service.api.label_sets.label_set import LabelSet, StoredForm, Summary
from service.api.label_sets.quota import Quota
from service.api.label_sets.redis_store import RedisStore
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.set_name import SHARED, SetName
from service.api.problems import Code, Problem
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from tests.service.api.label_sets.conftest import ANY, ROOMY, Processes, animals, code_of, linked
from tests.service.redis_server import RedisServer


async def test_a_set_comes_back_as_it_was_put(processes: Processes) -> None:
    sets = await processes()
    label_set = LabelSet("all", (Label("犬", ("a dog", "a puppy"), ("a cat",)), Label("b")), "the sound of {label}")
    assert await sets.put(label_set, ANY, SHARED)
    assert await sets.get("all", SHARED) == label_set


async def test_another_process_sees_a_change_at_once(processes: Processes) -> None:
    one, other = await processes(), await processes()
    for version in (animals("dog"), animals("dog", "cat"), animals("cow")):
        await one.put(version, ANY, SHARED)
        assert await other.get("animals", SHARED) == version
    await other.delete("animals", ANY, SHARED)
    assert await code_of(one.get("animals", SHARED)) is Code.UNKNOWN_LABEL_SET


async def test_if_match_keeps_a_change_from_being_lost(processes: Processes) -> None:
    one, other = await processes(), await processes()
    first = animals("dog")
    await one.put(first, ANY, SHARED)
    await other.put(animals("dog", "cat"), Condition(if_match=first.etag), SHARED)
    assert await code_of(one.put(animals("cow"), Condition(if_match=first.etag), SHARED)) is Code.PRECONDITION_FAILED
    assert await code_of(one.delete("animals", Condition(if_match=first.etag), SHARED)) is Code.PRECONDITION_FAILED
    assert await one.get("animals", SHARED) == animals("dog", "cat")


async def test_if_none_match_creates_and_never_replaces(processes: Processes) -> None:
    sets = await processes()
    await sets.put(animals("dog"), Condition(if_none_match="*"), SHARED)
    assert await code_of(sets.put(animals("cat"), Condition(if_none_match="*"), SHARED)) is Code.PRECONDITION_FAILED


async def test_if_match_star_needs_a_set_to_be_there(processes: Processes) -> None:
    sets = await processes()
    assert await code_of(sets.put(animals("dog"), Condition(if_match="*"), SHARED)) is Code.PRECONDITION_FAILED
    await sets.put(animals("dog"), ANY, SHARED)
    await sets.put(animals("cat"), Condition(if_match="*"), SHARED)


async def test_of_many_changes_with_the_same_etag_one_is_made(processes: Processes) -> None:
    members = [await processes() for _ in range(4)]
    first = animals("dog")
    await members[0].put(first, ANY, SHARED)

    async def change(number: int) -> bool:
        try:
            await members[number % 4].put(animals(f"dog {number}"), Condition(if_match=first.etag), SHARED)
        except Problem:
            return False
        return True

    assert sum(await asyncio.gather(*map(change, range(20)))) == 1


async def test_sets_are_listed_by_id_with_their_etags_and_number_of_labels(processes: Processes) -> None:
    one, other = await processes(), await processes()
    for name in ("b", "c", "a"):
        await one.put(animals("dog", "cat", called=name), ANY, SHARED)
    listed = [(name.id, summary.etag, summary.labels) for name, summary in await other.summaries(SHARED)]
    assert listed == [(name, animals("dog", "cat", called=name).etag, 2) for name in "abc"]


@pytest.mark.parametrize("name", ["x" * 126, "x" * 200, "", ".", "a/b", "../up", "ü", "a b", "owner-x\n"])
async def test_an_id_that_no_set_can_have_is_unknown(name: str, processes: Processes) -> None:
    sets = await processes()
    assert await code_of(sets.get(name, SHARED)) is Code.UNKNOWN_LABEL_SET
    assert await code_of(sets.delete(name, ANY, SHARED)) is Code.UNKNOWN_LABEL_SET


@pytest.mark.parametrize("name", [".", "..", ".set", "x" * 100, "lock", "partial"])
async def test_every_other_id_can_be_used(name: str, processes: Processes) -> None:
    sets = await processes()
    await sets.put(animals("dog", called=name), ANY, "a")
    assert await sets.get(name, "a") == animals("dog", called=name)
    assert [each.id for each, _ in await sets.summaries("a")] == [name]


# Owners


async def test_the_same_id_is_another_set_for_each_caller(processes: Processes) -> None:
    one, other = await processes(), await processes()
    assert await one.put(animals("dog"), ANY, "a")
    assert await one.put(animals("cat"), Condition(if_none_match="*"), "b")
    assert await other.get("animals", "a") == animals("dog")
    assert await other.get("animals", "b") == animals("cat")
    await other.delete("animals", ANY, "a")
    assert await one.get("animals", "b") == animals("cat")


async def test_a_set_of_another_caller_is_as_unknown_as_one_that_is_not_there(processes: Processes) -> None:
    sets = await processes()
    await sets.put(animals("dog"), ANY, "a")
    for name in ("animals", "nothing"):
        for ask in (sets.get(name, "b"), sets.delete(name, ANY, "b"), sets.delete(name, Condition("*"), "b")):
            with pytest.raises(Problem) as caught:
                await ask
            assert (caught.value.code, caught.value.detail) == (
                Code.UNKNOWN_LABEL_SET,
                f"There is no label set {name!r}.",
            )
    assert await sets.summaries("b") == []


async def test_a_shared_set_is_read_by_every_caller_and_changed_by_none(processes: Processes) -> None:
    sets = await processes()
    await sets.put(animals("dog"), ANY, SHARED)
    assert await sets.get("animals", "a") == animals("dog")
    assert [name for name, _ in await sets.summaries("a")] == [SetName(SHARED, "animals")]
    assert await code_of(sets.delete("animals", ANY, "a")) is Code.UNKNOWN_LABEL_SET
    assert await sets.put(animals("cat"), ANY, "a"), "it is created beside the shared one"
    assert await sets.get("animals", "a") == animals("cat")
    assert [name for name, _ in await sets.summaries("a")] == [SetName("a", "animals")]
    assert await sets.get("animals", "b") == animals("dog")


# Quota


SIZE = StoredForm.of(animals("dog", called="a")).summary.bytes


async def test_there_are_so_many_sets_and_no_more(processes: Processes) -> None:
    sets = await processes(Quota(2, 2, ROOMY.max_label_sets_bytes, ROOMY.max_label_sets_bytes))
    for name in ("a", "b", "a"):
        await sets.put(animals("dog", called=name), ANY, SHARED)
    with pytest.raises(Problem, match=r"The limit is 2 label sets in total \(max_label_sets\)"):
        await sets.put(animals("dog", called="c"), ANY, SHARED)


async def test_the_sets_of_a_key_have_a_limit_of_their_own_which_shared_sets_have_not(processes: Processes) -> None:
    sets = await processes(Quota(4, 1, 1_000, 1_000))
    await sets.put(animals("dog", called="a"), ANY, "one")
    with pytest.raises(Problem, match=r"1 label sets per key \(max_label_sets_per_key\)"):
        await sets.put(animals("dog", called="b"), ANY, "one")
    await sets.put(animals("dog", called="a"), ANY, "on")  # a name that the other begins with
    for name in ("a", "b"):
        await sets.put(animals("dog", called=name), ANY, SHARED)


async def test_bytes_are_limited_in_total_and_per_key(processes: Processes) -> None:
    sets = await processes(Quota(10, 10, 3 * SIZE, 2 * SIZE))
    for name in ("a", "b"):
        await sets.put(animals("dog", called=name), ANY, "one")
    with pytest.raises(Problem, match=rf"{2 * SIZE} bytes of label sets per key \(max_label_sets_bytes_per_key\)"):
        await sets.put(animals("dog", called="c"), ANY, "one")
    await sets.put(animals("dog", called="a"), ANY, "two")
    with pytest.raises(Problem, match=rf"{3 * SIZE} bytes of label sets in total \(max_label_sets_bytes\)"):
        await sets.put(animals("dog", called="b"), ANY, "two")
    # What is replaced or deleted makes room again.
    await sets.put(animals("cat", called="a"), ANY, "one")
    await sets.delete("a", ANY, "one")
    await sets.put(animals("dog", called="b"), ANY, "two")


async def test_many_processes_together_stay_within_the_quota(processes: Processes) -> None:
    members = [await processes(Quota(100, 100, 5 * SIZE, 5 * SIZE)) for _ in range(4)]

    async def put(number: int) -> bool:
        try:
            await members[number % 4].put(animals("dog", called=f"{number % 10}"), ANY, "one")
        except Problem:
            return False
        return True

    await asyncio.gather(*map(put, range(40)))
    assert len(await members[0].summaries("one")) == 5


async def test_a_full_disk_is_a_503_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = LabelSets(FolderStore(tmp_path, ROOMY))
    await sets.put(animals("dog"), ANY, SHARED)

    def full(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert await code_of(sets.put(animals("cat"), ANY, SHARED)) is Code.NOT_READY
    assert await sets.get("animals", SHARED) == animals("dog")
    assert not (tmp_path / "partial").exists()


async def test_a_process_that_hangs_with_the_lock_holds_changes_up_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.label_sets.folder_store.LOCK_S", 0.05)
    sets = LabelSets(FolderStore(tmp_path, ROOMY))
    await sets.put(animals("dog"), ANY, SHARED)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await code_of(sets.put(animals("cat"), ANY, SHARED)) is Code.NOT_READY
        assert await sets.get("animals", SHARED) == animals("dog")
    await sets.put(animals("cat"), ANY, SHARED)


# Copies


class Counting(RedisStore):
    """Counts what is read."""

    def __init__(self, redis: RedisLink, quota: Quota) -> None:
        super().__init__(redis, quota)
        self.documents = 0

    async def document(self, name: SetName) -> bytes | None:
        self.documents += 1
        return await super().document(name)


async def counting(stack: AsyncExitStack, server: RedisServer) -> Counting:
    return Counting(await stack.enter_async_context(RedisLink(connect(server.url), read_s=5)), ROOMY)


async def test_a_list_reads_no_document(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await counting(stack, redis_server))
        for number in range(20):
            await sets.put(animals("dog", called=f"{number}"), ANY, SHARED)
        assert len(await sets.summaries(SHARED)) == 20
        assert store.documents == 0


async def test_requests_at_once_read_a_document_once_and_later_ones_not_at_all(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await counting(stack, redis_server))
        await sets.put(animals("dog"), ANY, SHARED)
        assert set(await asyncio.gather(*(sets.get("animals", SHARED) for _ in range(20)))) == {animals("dog")}
        await sets.get("animals", SHARED)
        assert store.documents == 1


async def test_one_that_goes_away_while_a_document_is_read_fails_nobody(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(await counting(stack, redis_server))
        await sets.put(animals("dog"), ANY, SHARED)
        gone, stays = (asyncio.create_task(sets.get("animals", SHARED)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == animals("dog")


async def test_a_process_copies_only_what_has_changed_even_if_it_cannot_keep_it(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.label_sets.registry.FOLLOW_S", 0.01)
    monkeypatch.setattr("service.api.label_sets.registry.COPIES_BYTES", 0)
    async with AsyncExitStack() as stack:
        writer = LabelSets(await linked(stack, redis_server))
        for number in range(10):
            await writer.put(animals("dog", called=f"{number}"), ANY, SHARED)
        store = await counting(stack, redis_server)
        await stack.enter_async_context(LabelSets(store))
        await until(store, 10)
        await asyncio.sleep(0.1)  # ten looks
        assert store.documents == 10
        await writer.put(animals("cat", called="3"), ANY, SHARED)
        await until(store, 11)


async def until(store: Counting, documents: int) -> None:
    async with asyncio.timeout(10):
        while store.documents < documents:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_while_redis_is_away_what_was_seen_is_served_and_nothing_is_changed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with RedisServer(tmp_path) as server:
            sets = await stack.enter_async_context(LabelSets(await linked(stack, server)))
            await sets.put(animals("dog"), ANY, "a")
            await sets.get("animals", "a")
        assert await sets.get("animals", "a") == animals("dog")
        assert await code_of(sets.get("animals", "b")) is Code.NOT_READY
        assert await code_of(sets.get("other", "a")) is Code.NOT_READY
        assert await code_of(sets.put(animals("cat"), ANY, "a")) is Code.NOT_READY
        assert await code_of(sets.summaries("a")) is Code.NOT_READY


async def test_a_process_serves_the_sets_it_has_not_been_asked_for_while_redis_is_away(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with RedisServer(tmp_path) as server:
            writer = LabelSets(await linked(stack, server))
            await writer.put(animals("dog"), ANY, "a")
            store = await counting(stack, server)
            reader = await stack.enter_async_context(LabelSets(store))
            await until(store, 1)
        assert await reader.get("animals", "a") == animals("dog")


# Values in Redis that nobody of ours wrote


GARBAGE: Sequence[bytes] = (b"", b"etag", b"\xff\xfe", b'"' + b"0" * 32 + b'" 1 99999999999999', b"x" * 100_000)


@pytest.mark.parametrize("summary", GARBAGE, ids=lambda value: repr(value[:10]))
async def test_garbage_in_the_place_of_a_summary_is_no_set_and_can_be_replaced(
    summary: bytes, redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await linked(stack, redis_server))
        await sets.put(animals("dog", called="good"), ANY, SHARED)
        await hset(redis_server, store.SUMMARIES, "shared/animals", summary)
        assert await code_of(sets.get("animals", SHARED)) is Code.UNKNOWN_LABEL_SET
        assert [name.id for name, _ in await sets.summaries(SHARED)] == ["good"]
        assert await sets.put(animals("cat"), ANY, SHARED)
        assert await sets.get("animals", SHARED) == animals("cat")


@pytest.mark.parametrize("field", [b"", b"\xff/\xfe", b"shared", b"a/b/c", b"shared/" + b"x" * 500])
async def test_garbage_in_the_place_of_a_name_is_not_listed(field: bytes, redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await linked(stack, redis_server))
        await sets.put(animals("dog"), ANY, SHARED)
        await hset(redis_server, store.SUMMARIES, field, str(Summary(animals("dog").etag, 1, 1)))
        assert [name.id for name, _ in await sets.summaries(SHARED)] == ["animals"]


DOCUMENTS = (b"", b"\xff", b'{"id": 1}', animals("dog", called="other").document, b'{"id":"animals","labels":[]}')


@pytest.mark.parametrize("document", DOCUMENTS)
async def test_garbage_in_the_place_of_a_document_is_not_served_and_can_be_replaced(
    document: bytes, redis_server: RedisServer
) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await linked(stack, redis_server))
        await sets.put(animals("dog"), ANY, SHARED)
        await hset(redis_server, store.DOCUMENTS, "shared/animals", document)
        assert await code_of(sets.get("animals", SHARED)) is Code.NOT_READY
        assert not await sets.put(animals("cat"), ANY, SHARED)
        assert await sets.get("animals", SHARED) == animals("cat")


@pytest.mark.parametrize("kind", ["DOCUMENTS", "SUMMARIES"])
async def test_a_key_of_another_type_is_a_503(kind: str, redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = LabelSets(store := await linked(stack, redis_server))
        await sets.put(animals("dog"), ANY, SHARED)
        redis_server.admin("SET", getattr(store, kind), "text")
        assert await code_of(sets.get("animals", SHARED)) is Code.NOT_READY
        assert await code_of(sets.put(animals("cat"), ANY, SHARED)) is Code.NOT_READY


async def hset(server: RedisServer, key: str, field: str | bytes, value: str | bytes) -> None:
    async with RedisLink(connect(server.url), read_s=5) as redis:
        await redis.ask(lambda client: client.hset(key, field, value))


async def test_label_sets_do_not_expire_and_survive_eviction(tmp_path: Path) -> None:
    options = ("maxmemory 3mb", "maxmemory-policy volatile-lfu")
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path, options))
        sets = LabelSets(store := await linked(stack, server))
        await sets.put(animals("dog"), ANY, SHARED)
        assert b":-1" in server.admin("TTL", store.DOCUMENTS)
        for number in range(3_000):
            server.admin("SET", f"anysound:{number}", "x" * 1_000, "EX", "60")
        assert b"evicted_keys:0" not in server.admin("INFO", "stats")
        assert await sets.get("animals", SHARED) == animals("dog")
