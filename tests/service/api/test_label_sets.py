"""Registered label sets: what they are, and that every API process sees the same of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from model.prompts import Label
from service.api.label_sets.condition import Condition
from service.api.label_sets.folder_store import FolderStore
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.redis_store import RedisStore
from service.api.label_sets.registry import LabelSets
from service.api.label_sets.store import Store
from service.api.problems import Code, Problem
from service.cache.redis_link import RedisLink, connect
from tests.service.api.test_routes import form, problem
from tests.service.conftest import Serve
from tests.service.redis_server import RedisServer
from tests.service.spectral import SpectralEmbedder
from tests.service.supervise.test_faults import running

Processes = Callable[[], Awaitable[LabelSets]]
ANY = Condition()


def animals(*names: str, called: str = "animals", template: str | None = None) -> LabelSet:
    return LabelSet(called, tuple(map(Label, names)), template)


@pytest.fixture(params=["folder", "redis"])
async def processes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Processes]:
    """What makes the label sets of one more API process of a service."""
    async with AsyncExitStack() as stack:

        async def start() -> LabelSets:
            store: Store = FolderStore(tmp_path / "sets")
            if request.param == "redis":
                server: RedisServer = request.getfixturevalue("redis_server")
                store = RedisStore(await stack.enter_async_context(RedisLink(connect(server.url), read_s=5)))
            return await stack.enter_async_context(LabelSets(store))

        if request.param == "redis":
            request.getfixturevalue("redis_server")
        yield start


async def code_of(change: Awaitable[object]) -> Code:
    with pytest.raises(Problem) as caught:
        await change
    return caught.value.code


async def test_a_set_comes_back_as_it_was_put(processes: Processes) -> None:
    sets = await processes()
    label_set = LabelSet("all", (Label("犬", ("a dog", "a puppy"), ("a cat",)), Label("b")), "the sound of {label}")
    assert await sets.put(label_set, ANY)
    assert await sets.get("all") == label_set


async def test_another_process_sees_a_change_at_once(processes: Processes) -> None:
    one, other = await processes(), await processes()
    for version in (animals("dog"), animals("dog", "cat"), animals("cow")):
        await one.put(version, ANY)
        assert await other.get("animals") == version
    await other.delete("animals", ANY)
    assert await code_of(one.get("animals")) is Code.UNKNOWN_LABEL_SET


async def test_the_same_content_has_the_same_etag_and_any_other_another(processes: Processes) -> None:
    etags = [animals(*names).etag for names in (["dog"], ["dog"], ["cat"], ["dog", "cat"], ["cat", "dog"])]
    assert len(set(etags)) == 4
    assert animals("dog").etag != animals("dog", template="{label}").etag


async def test_if_match_keeps_a_change_from_being_lost(processes: Processes) -> None:
    one, other = await processes(), await processes()
    first = animals("dog")
    await one.put(first, ANY)
    await other.put(animals("dog", "cat"), Condition(if_match=first.etag))
    assert await code_of(one.put(animals("cow"), Condition(if_match=first.etag))) is Code.PRECONDITION_FAILED
    assert await code_of(one.delete("animals", Condition(if_match=first.etag))) is Code.PRECONDITION_FAILED
    assert await one.get("animals") == animals("dog", "cat")


async def test_if_none_match_creates_and_never_replaces(processes: Processes) -> None:
    sets = await processes()
    await sets.put(animals("dog"), Condition(if_none_match="*"))
    assert await code_of(sets.put(animals("cat"), Condition(if_none_match="*"))) is Code.PRECONDITION_FAILED


async def test_if_match_star_needs_a_set_to_be_there(processes: Processes) -> None:
    sets = await processes()
    assert await code_of(sets.put(animals("dog"), Condition(if_match="*"))) is Code.PRECONDITION_FAILED
    await sets.put(animals("dog"), ANY)
    await sets.put(animals("cat"), Condition(if_match="*"))


async def test_of_many_changes_with_the_same_etag_one_is_made(processes: Processes) -> None:
    members = [await processes() for _ in range(4)]
    first = animals("dog")
    await members[0].put(first, ANY)

    async def change(number: int) -> bool:
        try:
            await members[number % 4].put(animals(f"dog {number}"), Condition(if_match=first.etag))
        except Problem:
            return False
        return True

    assert sum(await asyncio.gather(*map(change, range(20)))) == 1


async def test_sets_are_listed_by_id(processes: Processes) -> None:
    one, other = await processes(), await processes()
    for name in ("b", "c", "a"):
        await one.put(animals("dog", called=name), ANY)
    assert [each.id for each in await other.all()] == ["a", "b", "c"]


async def test_there_are_so_many_sets_and_no_more(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.label_sets.store.MAX_SETS", 2)
    sets = await processes()
    for name in ("a", "b", "a"):
        await sets.put(animals("dog", called=name), ANY)
    assert await code_of(sets.put(animals("dog", called="c"), ANY)) is Code.INVALID_REQUEST


# Redis


async def link(stack: AsyncExitStack, server: RedisServer) -> RedisLink:
    return await stack.enter_async_context(RedisLink(connect(server.url), read_s=5))


async def test_while_redis_is_away_what_was_seen_is_served_and_nothing_is_changed(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with RedisServer(tmp_path) as server:
            sets = await stack.enter_async_context(LabelSets(RedisStore(await link(stack, server))))
            await sets.put(animals("dog"), ANY)
            await sets.get("animals")
        assert await sets.get("animals") == animals("dog")
        assert await code_of(sets.get("other")) is Code.NOT_READY
        assert await code_of(sets.put(animals("cat"), ANY)) is Code.NOT_READY
        assert await code_of(sets.all()) is Code.NOT_READY


async def test_a_process_copies_the_sets_it_has_not_been_asked_for(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        with RedisServer(tmp_path) as server:
            writer = await stack.enter_async_context(LabelSets(RedisStore(await link(stack, server))))
            await writer.put(animals("dog"), ANY)
            reader = await stack.enter_async_context(LabelSets(RedisStore(await link(stack, server))))
            async with asyncio.timeout(10):
                while reader._copies.get("animals") is None:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.01)
        assert await reader.get("animals") == animals("dog")


async def test_label_sets_do_not_expire_and_survive_eviction(tmp_path: Path) -> None:
    options = ("maxmemory 3mb", "maxmemory-policy volatile-lfu")
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer(tmp_path, options))
        redis = await link(stack, server)
        sets = await stack.enter_async_context(LabelSets(RedisStore(redis)))
        await sets.put(animals("dog"), ANY)
        assert b":-1" in server.admin("TTL", RedisStore.DOCUMENTS)
        for number in range(3_000):
            server.admin("SET", f"anysound:{number}", "x" * 1_000, "EX", "60")
        assert b"evicted_keys:0" not in server.admin("INFO", "stats")
        assert await sets.get("animals") == animals("dog")


async def test_garbage_in_the_place_of_a_document_is_not_served(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        sets = await stack.enter_async_context(LabelSets(RedisStore(await link(stack, redis_server))))
        redis_server.admin("HSET", RedisStore.ETAGS, "bad", "etag")
        redis_server.admin("HSET", RedisStore.DOCUMENTS, "bad", '{"id": 1}')
        assert await code_of(sets.get("bad")) is Code.NOT_READY


# Over HTTP


def put(client: TestClient, labels: list[object], name: str = "animals", **headers: str) -> tuple[int, str]:
    answer = client.put(f"/v1/label-sets/{name}", json={"labels": labels}, headers=headers)
    return answer.status_code, answer.headers.get("etag", "")


def test_a_request_names_a_set(client: TestClient, low: bytes) -> None:
    status, _ = put(client, ["high", {"name": "bass", "prompts": ["a low tone"]}], "tones")
    assert status == 201
    body = form(client, low, label_set="tones").json()
    assert body["results"][0]["scores"][0]["label"] == "bass"


def test_the_answer_says_where_a_set_is_kept(client: TestClient, serve: Serve, redis_server: RedisServer) -> None:
    with_redis = serve(redis_url=redis_server.url)
    for each, storage in ((client, "memory"), (with_redis, "redis")):
        put(each, ["dog", "cat"])
        assert each.get("/v1/label-sets/animals").json()["storage"] == storage
        assert each.get("/v1/label-sets").json()["storage"] == storage


def test_get_shows_names_prompts_and_template(client: TestClient) -> None:
    body = {"labels": [{"name": "a", "prompts": ["x", "y"], "negative_prompts": ["z"]}], "template": "the {label}"}
    client.put("/v1/label-sets/shown", json=body)
    answer = client.get("/v1/label-sets/shown")
    assert answer.json() == {"id": "shown", **body, "storage": "memory"}
    listed = client.get("/v1/label-sets").json()["label_sets"]
    assert {"id": "shown", "labels": 1, "etag": answer.headers["etag"]} in listed


def test_a_change_is_versioned_by_its_etag(client: TestClient) -> None:
    _, first = put(client, ["dog"], "versioned")
    status, second = put(client, ["dog", "cat"], "versioned", **{"If-Match": first})
    assert (status, second != first) == (200, True)
    stale = {"If-Match": first}
    answer = client.put("/v1/label-sets/versioned", json={"labels": ["cow"]}, headers=stale)
    assert problem(answer) == (412, "precondition_failed")
    assert problem(client.delete("/v1/label-sets/versioned", headers=stale)) == (412, "precondition_failed")
    assert client.delete("/v1/label-sets/versioned", headers={"If-Match": second}).status_code == 204
    assert problem(client.get("/v1/label-sets/versioned")) == (404, "unknown_label_set")


def test_the_sets_template_is_used_unless_the_request_has_one(client: TestClient, low: bytes) -> None:
    client.put("/v1/label-sets/templated", json={"labels": ["low", "high"], "template": "set {label}"})
    assert form(client, low, label_set="templated").json()["template"] == "set {label}"
    assert form(client, low, label_set="templated", template="mine {label}").json()["template"] == "mine {label}"


def test_a_thousand_labels_by_id_cost_no_work_on_text(serve: Serve, low: bytes) -> None:
    embedder = SpectralEmbedder()
    # A cache of prompts too small for the set: what serves it is the set's own embeddings.
    client = serve(embedder, max_labels=1_000, prompt_cache_size=10)
    assert put(client, [f"thing {number}" for number in range(1_000)])[0] == 201
    form(client, low, label_set="animals")
    asked = len(embedder.prompts)
    for _ in range(3):
        assert form(client, low, label_set="animals", top_k=3).status_code == 200
    assert len(embedder.prompts) == asked


def test_a_changed_set_is_what_the_next_request_is_scored_against(serve: Serve, low: bytes) -> None:
    client = serve()
    for names in (["low", "rain"], ["low", "wind"]):
        put(client, list(names))
        rows = form(client, low, label_set="animals").json()["results"][0]["scores"]
        assert {row["label"] for row in rows} == set(names)


@pytest.mark.parametrize("name", ["a b", "x" * 101, "ü", "a%2Fb", "%00"])
def test_an_id_that_is_none_is_refused(name: str, client: TestClient) -> None:
    answer = client.put(f"/v1/label-sets/{name}", json={"labels": ["dog"]})
    assert problem(answer)[0] in (404, 422)


def test_an_unknown_set_is_404(client: TestClient, low: bytes) -> None:
    assert problem(form(client, low, label_set="nothing")) == (404, "unknown_label_set")
    assert problem(form(client, low, label_set="../../etc/passwd")) == (404, "unknown_label_set")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": [""]},
        {"labels": ["a"], "template": "none"},
        {"labels": ["a"], "more": 1},
        {"labels": [{"name": str(n), "prompts": ["p"] * 64, "negative_prompts": ["n"] * 64} for n in range(80)]},
    ],
    ids=lambda body: json.dumps(body)[:40],
)
def test_a_set_that_makes_no_sense_is_refused(body: object, client: TestClient) -> None:
    assert problem(client.put("/v1/label-sets/bad", json=body)) == (422, "invalid_request")


def test_every_process_of_a_running_service_sees_a_change_at_once(tiny_folder: Path, tmp_path: Path) -> None:
    with running(tiny_folder, tmp_path / "log", "--api-processes", "3") as service:
        address = f"{service.address}/v1/label-sets/animals"
        for names in (["dog"], ["dog", "cat"], ["cow"]):
            # Each request on a connection of its own: any of the processes takes it.
            etag = httpx2.put(address, json={"labels": names}).headers["etag"]
            seen = {httpx2.get(address).headers["etag"] for _ in range(12)}
            assert seen == {etag}
        assert httpx2.delete(address).status_code == 204
        assert {httpx2.get(address).status_code for _ in range(12)} == {404}
