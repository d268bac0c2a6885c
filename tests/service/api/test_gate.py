"""Which requests pass the gate, and how many per caller."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from pathlib import Path

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from service.api.keys import Keys, KeysError, read_keys
from service.api.problems import Problem
from service.settings import SettingsError
from tests.service.api.test_routes import form, problem
from tests.service.conftest import Serve
from tests.service.redis_server import RedisServer


def keys_file(folder: Path, *keys: str) -> Path:
    """A file of the hashes of `keys`, newer than the one before."""
    path = folder / "keys"
    before = path.stat().st_mtime_ns if path.exists() else 0
    lines = [f"{hashlib.sha256(key.encode()).hexdigest()}  # {number}" for number, key in enumerate(keys)]
    path.write_text("\n".join(["# our keys", "", *lines]) + "\n")
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


@pytest.fixture
def guarded(serve: Serve, tmp_path: Path) -> TestClient:
    return serve(api_keys_file=keys_file(tmp_path, "first", "second"))


@pytest.mark.parametrize("key", ["first", "second"])
def test_a_known_key_opens(key: str, guarded: TestClient) -> None:
    assert guarded.get("/v1/model", headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert guarded.get("/v1/model", headers={"X-API-Key": key}).status_code == 200


WRONG = ["", "firs", "First", "third", "x" * 10_000, hashlib.sha256(b"first").hexdigest(), "ü"]


@pytest.mark.parametrize("key", WRONG)
def test_any_other_does_not(key: str, guarded: TestClient) -> None:
    given = [(b"X-API-Key", key.encode()), (b"Authorization", b"Bearer " + key.encode())]
    for headers in ([given[0]], [given[1]], []):
        answer = guarded.get("/v1/model", headers=headers)
        assert problem(answer) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/embeddings", "/v1/label-sets/x", "/v1/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_nothing_of_the_api_is_open(method: str, path: str, guarded: TestClient) -> None:
    assert problem(guarded.request(method, path, content=b"{}")) == (401, "unauthorized")


def test_probes_and_documentation_need_no_key(guarded: TestClient) -> None:
    for path in ("/livez", "/readyz", "/startupz", "/docs", "/openapi.json", "/metrics"):
        assert guarded.get(path).status_code == 200


def test_the_metric_of_a_refused_request_has_its_route(guarded: TestClient) -> None:
    guarded.put("/v1/label-sets/abc", json={})
    guarded.get("/v1/nothing-of-the-kind")
    text = guarded.get("/metrics").text
    assert 'code="401",method="PUT",route="/v1/label-sets/{id}"' in text
    assert "nothing-of-the-kind" not in text


def test_keys_are_changed_without_a_restart(guarded: TestClient, tmp_path: Path) -> None:
    keys_file(tmp_path, "second", "third")
    statuses = {key: guarded.get("/v1/model", headers={"X-API-Key": key}).status_code for key in ("first", "third")}
    assert statuses == {"first": 401, "third": 200}


@pytest.mark.parametrize("content", ["", "not a hash\n", "# nothing\n"])
def test_a_file_that_is_spoilt_while_serving_changes_nothing(
    content: str, guarded: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "keys").write_text(content)
    assert guarded.get("/v1/model", headers={"X-API-Key": "first"}).status_code == 200
    assert guarded.get("/v1/model", headers={"X-API-Key": "other"}).status_code == 401
    assert "stay in force" in caplog.text


@pytest.mark.parametrize("content", ["", "abc\n", "# nothing\n", f"{'0' * 64} {'1' * 64}\n"])
def test_a_spoilt_file_is_said_at_the_start(content: str, tmp_path: Path, serve: Serve) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(KeysError):
        read_keys(tmp_path / "keys")
    with pytest.raises(SettingsError):
        serve(api_keys_file=tmp_path / "keys")


def test_a_thousand_wrong_keys_are_refused_in_the_same_time_however_near_they_are(tmp_path: Path) -> None:
    """Against the time of a right prefix: the medians of interleaved tries lie within each other's quartiles."""
    right = hashlib.sha256(b"key").hexdigest()
    keys = Keys(keys_file(tmp_path, right))
    times: dict[str, list[float]] = {"near": [], "far": []}
    for number in range(1_000):
        for kind, given in (("near", right[:-4] + f"{number:04d}"), ("far", f"{number:04d}" * 16)):
            headers = Headers({"x-api-key": given})
            began = time.perf_counter()
            with pytest.raises(Problem):
                keys.check(headers)
            times[kind].append(time.perf_counter() - began)
    near, far = (statistics.quantiles(times[kind], n=4) for kind in ("near", "far"))
    assert far[0] <= near[1] <= far[2] or near[0] <= far[1] <= near[2]


# Rates


def test_a_key_that_asks_too_often_is_told_when_to_come_back(serve: Serve, tmp_path: Path) -> None:
    client = serve(api_keys_file=keys_file(tmp_path, "a", "b"), rate_limit=0.01, rate_burst=2)
    statuses = [client.get("/v1/model", headers={"X-API-Key": "a"}).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    answer = client.get("/v1/model", headers={"X-API-Key": "a"})
    assert problem(answer) == (429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 100
    assert client.get("/v1/model", headers={"X-API-Key": "b"}).status_code == 200
    assert client.get("/readyz").status_code == 200
    assert 'anysound_rejected_total{reason="rate_limited"}' in client.get("/metrics").text


def test_with_redis_all_processes_count_together(serve: Serve, tmp_path: Path, redis_server: RedisServer) -> None:
    file = keys_file(tmp_path, "a")
    settings = {"api_keys_file": file, "rate_limit": 0.01, "rate_burst": 3, "redis_url": redis_server.url}
    one, other = serve(**settings), serve(**settings)
    statuses = [each.get("/v1/model", headers={"X-API-Key": "a"}).status_code for each in (one, other, one, other)]
    assert statuses == [200, 200, 200, 429]
    assert b"$1\r\na" not in redis_server.admin("KEYS", "*"), "the key itself is not written down"


# Browsers


def test_a_page_of_an_origin_that_was_set_may_ask(serve: Serve, tmp_path: Path, low: bytes) -> None:
    client = serve(cors_origins=("https://app.example",), api_keys_file=keys_file(tmp_path, "a"))
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = client.options("/v1/classify", headers={**headers, "Access-Control-Request-Headers": "x-api-key"})
    assert asked.headers["access-control-allow-origin"] == "https://app.example"
    answer = client.post(
        "/v1/classify",
        files={"audio": ("a", low)},
        data={"labels": ["low", "high"]},
        headers={"Origin": "https://app.example", "X-API-Key": "a"},
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "server-timing" in answer.headers["access-control-expose-headers"].lower()


def test_a_page_of_another_origin_may_not(serve: Serve) -> None:
    client = serve(cors_origins=("https://app.example",))
    answer = client.get("/v1/model", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_an_answer_opened_as_a_page_may_load_nothing(client: TestClient, low: bytes) -> None:
    for answer in (client.get("/v1/model"), form(client, low, labels=["low", "high"]), client.get("/nothing")):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert "'self'" in client.get("/docs").headers["content-security-policy"]
