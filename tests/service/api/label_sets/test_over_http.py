"""Label sets through the API: what clients send, what they get, and what the keys of others cannot see."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from tests.service.api.test_routes import form, problem
from tests.service.conftest import Serve
from tests.service.redis_server import RedisServer
from tests.service.spectral import SpectralEmbedder
from tests.service.supervise.test_faults import running


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
    assert {"id": "shown", "labels": 1, "etag": answer.headers["etag"], "shared": True} in listed


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
