"""Label sets over HTTP: requests, answers, and what other keys cannot see."""

from __future__ import annotations

import hashlib
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


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"labels": "a"}', b'{"labels": ["\\ud800"]}'])
def test_a_body_that_is_no_label_set_is_refused(body: bytes, client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert problem(client.put("/v1/label-sets/bad", content=body, headers=headers)) == (422, "invalid_request")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_a_body_that_is_not_declared_as_json_is_refused(headers: dict[str, str], client: TestClient) -> None:
    answer = client.put("/v1/label-sets/bad", content=b'{"labels": ["a"]}', headers=headers)
    assert problem(answer) == (422, "invalid_request")


def test_a_body_over_the_limit_of_a_key_is_refused_by_its_name(serve: Serve) -> None:
    client = serve(max_label_sets_bytes_per_key=100)
    answer = client.put("/v1/label-sets/large", json={"labels": ["x" * 90]})
    assert problem(answer) == (413, "payload_too_large")
    assert "100 bytes (max_label_sets_bytes_per_key)" in answer.json()["detail"]


def test_a_set_that_exceeds_the_quota_is_refused_by_its_name(serve: Serve) -> None:
    client = serve(max_label_sets_bytes=200)
    answers = [put(client, ["x" * 90], name)[0] for name in ("a", "b")]
    assert answers == [201, 422]
    answer = client.put("/v1/label-sets/b", json={"labels": ["x" * 90]})
    assert answer.json()["detail"] == (
        "The limit is 200 bytes of label sets in total (max_label_sets_bytes). Delete a label set first."
    )
    assert client.delete("/v1/label-sets/a").status_code == 204
    assert put(client, ["x" * 90], "b")[0] == 201


@pytest.mark.parametrize("name", ["x" * 126, "x" * 200, "a b", "ü"])
def test_a_request_that_names_an_impossible_set_is_404(name: str, client: TestClient, low: bytes) -> None:
    assert problem(form(client, low, label_set=name)) == (404, "unknown_label_set")


ODD = ["", "*, *", '"', "W/", "\xff\xfe".encode("latin-1").decode("latin-1"), "x" * 1_000, ",,,", '"a" "b"']


@pytest.mark.parametrize("etags", ODD)
def test_an_odd_if_match_is_another_version_and_never_a_fault(etags: str, client: TestClient) -> None:
    put(client, ["dog", "cat"], "odd")
    for method in ("PUT", "DELETE"):
        headers = [(b"If-Match", etags.encode("latin-1"))]
        answer = client.request(method, "/v1/label-sets/odd", json={"labels": ["cow"]}, headers=headers)
        assert problem(answer) == (412, "precondition_failed")


# Keys


@pytest.fixture
def keyed(serve: Serve, tmp_path: Path) -> TestClient:
    """A service with the keys a, b, b2 of the same caller as b, and s of the caller `shared`."""
    lines = [("a", ""), ("b", " team"), ("b2", " team"), ("s", " shared")]
    file = tmp_path / "keys"
    file.write_text("".join(f"{hashlib.sha256(key.encode()).hexdigest()}{name}\n" for key, name in lines))
    return serve(api_keys_file=file)


def by(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def test_a_key_sees_its_own_sets_and_the_shared_ones(keyed: TestClient, low: bytes) -> None:
    for key, name in (("a", "own"), ("b", "theirs"), ("s", "common")):
        assert put(keyed, ["low", "high"], name, **by(key))[0] == 201
    seen = {
        key: [(row["id"], row["shared"]) for row in keyed.get("/v1/label-sets", headers=by(key)).json()["label_sets"]]
        for key in ("a", "b2", "s")
    }
    assert seen == {
        "a": [("common", True), ("own", False)],
        "b2": [("common", True), ("theirs", False)],
        "s": [("common", True)],
    }
    for key, name, status in (("a", "own", 200), ("a", "common", 200), ("a", "theirs", 404), ("b2", "theirs", 200)):
        assert keyed.get(f"/v1/label-sets/{name}", headers=by(key)).status_code == status
        answer = keyed.post("/v1/classify", files={"audio": ("low", low)}, data={"label_set": name}, headers=by(key))
        assert answer.status_code == status


def test_the_set_of_another_key_is_as_unknown_as_one_that_is_not_there(keyed: TestClient) -> None:
    put(keyed, ["dog", "cat"], "theirs", **by("b"))
    for method in ("GET", "DELETE"):
        answers = []
        for name in ("theirs", "nothing"):
            answer = keyed.request(method, f"/v1/label-sets/{name}", headers={**by("a"), "X-Request-ID": "same"})
            answers.append((answer.status_code, answer.text.replace(name, "NAME")))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    assert put(keyed, ["cow", "hen"], "theirs", **by("a"))[0] == 201, "it is another set"
    assert [row["name"] for row in keyed.get("/v1/label-sets/theirs", headers=by("b")).json()["labels"]] == [
        "dog",
        "cat",
    ]


def test_only_the_caller_shared_changes_a_shared_set(keyed: TestClient) -> None:
    _, etag = put(keyed, ["dog", "cat"], "common", **by("s"))
    assert problem(keyed.delete("/v1/label-sets/common", headers=by("a"))) == (404, "unknown_label_set")
    assert put(keyed, ["cow", "hen"], "common", **by("a"), **{"If-Match": etag})[0] == 412
    assert keyed.get("/v1/label-sets/common", headers=by("b")).headers["etag"] == etag
    assert keyed.delete("/v1/label-sets/common", headers=by("s")).status_code == 204


def test_one_key_cannot_use_up_what_another_may_store(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("".join(f"{hashlib.sha256(key.encode()).hexdigest()}\n" for key in "ab"))
    client = serve(api_keys_file=file, max_label_sets_per_key=2)
    statuses = [put(client, ["dog", "cat"], f"{number}", **by("a"))[0] for number in range(4)]
    assert statuses == [201, 201, 422, 422]
    assert put(client, ["dog", "cat"], "0", **by("b"))[0] == 201


def test_no_key_is_written_down_in_redis(serve: Serve, tmp_path: Path, redis_server: RedisServer) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{hashlib.sha256(b'secret-key').hexdigest()}\n")
    client = serve(api_keys_file=file, redis_url=redis_server.url)
    put(client, ["dog", "cat"], **by("secret-key"))
    fields = redis_server.admin("HGETALL", "anysound:v1:{label-sets}:summaries")
    assert b"/animals" in fields
    assert b"secret-key" not in fields
    assert hashlib.sha256(b"secret-key").hexdigest().encode() not in fields


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
