"""Metrics as Prometheus sees them: well formed, with the design's names, right sums, and few series."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.observe.metrics import BUCKETS, STAGES
from tests.conftest import ROOT, listening, until_ready
from tests.service.api.test_routes import form
from tests.service.redis_server import free_port

NAMES = {
    "anysound_http_request_duration_seconds": {"route", "method", "code"},
    "anysound_http_requests_in_progress": set(),
    "anysound_stage_duration_seconds": {"stage"},
    "anysound_batch_size": {"kind"},
    "anysound_batch_duration_seconds": {"kind"},
    "anysound_queue_seconds": set(),
    "anysound_rejected": {"reason"},
    "anysound_cache_requests": {"cache", "tier", "result"},
    "anysound_audio_seconds": set(),
    "anysound_decode_failures": {"reason"},
    "anysound_worker_restarts": set(),
    "anysound_workers_odd": set(),
    "anysound_model_info": {"name", "fingerprint", "device", "dtype"},
    "anysound_ready": set(),
    "anysound_streams": set(),
    "anysound_stream_lag_seconds": set(),
    "anysound_stream_windows_dropped": set(),
}
"""The design's; counters without their `_total`."""

Labels = frozenset[tuple[str, str]]


def series(text: str) -> dict[tuple[str, Labels], float]:
    """Value by name and labels. What says when a counter was made is left out."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def total(text: str, name: str, **labels: str) -> float:
    return sum(
        value for (each, having), value in series(text).items() if each == name and set(labels.items()) <= having
    )


def some_of_everything(client: TestClient, low: bytes) -> str:
    """Metrics after requests of every kind."""
    form(client, low, labels=["low", "high"])
    form(client, b"no sound", labels=["low", "high"])
    form(client, low)
    client.get("/nothing")
    return client.get("/metrics").text


def test_the_names_and_labels_are_the_designs(client: TestClient, low: bytes) -> None:
    families = {each.name: each for each in text_string_to_metric_families(some_of_everything(client, low))}
    assert {name for name in families if not name.endswith("_created")} == set(NAMES)
    for name, labels in NAMES.items():
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels, sample


def test_promtool_finds_nothing_to_say(client: TestClient, low: bytes) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("there is no promtool on PATH (Debian: prometheus)")
    text = some_of_everything(client, low)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_buckets_are_milliseconds_and_have_the_objective_as_an_edge() -> None:
    assert BUCKETS[0] == 0.001
    assert {0.1, 0.25} <= set(BUCKETS)


def test_whatever_clients_send_makes_no_new_series(client: TestClient, low: bytes) -> None:
    def storm(seed: str) -> None:
        for number in range(5):
            odd = f"{seed}-{number}"
            client.get(f"/{odd}")
            client.request(odd.upper(), f"/v1/{odd}")
            client.request(odd.upper(), "/v1/classify")
            client.get(f"/v1/label-sets/{odd}")
            client.delete(f"/v1/label-sets/{odd}")
            client.post("/v1/classify", headers={"Content-Type": odd})
            client.get("/v1/model", headers={"X-API-Key": odd, "X-Request-ID": odd, "User-Agent": odd})
            files = {"audio": (odd, low)}
            client.post("/v1/classify", files=files, data={"labels": [odd, "other"], "template": odd + " {label}"})

    storm("quokka")
    before = series(client.get("/metrics").text).keys()
    storm("wombat")
    text = client.get("/metrics").text
    assert series(text).keys() == before
    assert "quokka" not in text


def test_a_request_is_counted_once_in_every_stage_that_it_went_through(client: TestClient, low: bytes) -> None:
    before = client.get("/metrics").text
    for _ in range(3):
        form(client, low, labels=["low", "high"])
    after = client.get("/metrics").text
    for stage in ("upload", "decode", "queue", "audio_embed", "score"):
        name = "anysound_stage_duration_seconds_count"
        assert total(after, name, stage=stage) - total(before, name, stage=stage) == 3


# The running service, with several API processes, and a real Prometheus

REQUESTS = 24


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The addresses of a service with two API processes and of its metrics."""
    folder = tmp_path_factory.mktemp("metrics")
    port = free_port()
    flags = [
        "--port",
        "0",
        "--metrics-port",
        str(port),
        "--api-processes",
        "2",
        "--drain-s",
        "1",
        "--audio-cache-bytes",
        "0",
    ]
    log = folder / "log"
    with (
        log.open("wb") as errors,
        subprocess.Popen([sys.executable, "-m", "anysound", "serve", *flags], cwd=ROOT, stderr=errors) as server,
    ):
        try:
            address = listening(log)
            for _ in range(12):  # each answered by any of the processes
                until_ready(address)
            crow = (ROOT / "examples" / "crow.flac").read_bytes()
            for _ in range(REQUESTS):  # each on a connection of its own: the processes share them
                answer = httpx2.post(
                    f"{address}/v1/classify", files={"audio": ("crow", crow)}, data={"labels": ["crow", "dog"]}
                )
                assert answer.status_code == 200
            yield address, f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def test_any_process_gives_the_sums_of_all(addresses: tuple[str, str]) -> None:
    _, metrics = addresses
    for _ in range(6):
        text = httpx2.get(f"{metrics}/metrics").text
        name = "anysound_http_request_duration_seconds_count"
        assert total(text, name, route="/v1/classify", code="200") == REQUESTS
        assert total(text, "anysound_stage_duration_seconds_count", stage="decode") == REQUESTS
        assert total(text, "anysound_http_requests_in_progress") == 0
        assert total(text, "anysound_ready") == 1


def test_the_stages_add_up_to_the_request(addresses: tuple[str, str]) -> None:
    text = httpx2.get(f"{addresses[1]}/metrics").text
    whole = total(text, "anysound_http_request_duration_seconds_sum", route="/v1/classify")
    parts = {stage: total(text, "anysound_stage_duration_seconds_sum", stage=stage) for stage in STAGES}
    assert 0.75 * whole < sum(parts.values()) <= whole, parts


def test_the_main_port_shows_no_metrics_where_they_have_their_own(addresses: tuple[str, str]) -> None:
    assert httpx2.get(f"{addresses[0]}/metrics").status_code == 404


def test_a_real_prometheus_scrapes_them(addresses: tuple[str, str], tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus on PATH (Debian: prometheus)")
    target = addresses[1].removeprefix("http://")
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms}\n"
        f"scrape_configs: [{{job_name: anysound, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    port = free_port()
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    log = (tmp_path / "log").open("wb")
    with log, subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log) as prometheus:
        try:

            def ask(query: str) -> float | None:
                answer = httpx2.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}).json()
                found = answer["data"]["result"]
                return float(found[0]["value"][1]) if found else None

            assert until(lambda: ask("anysound_ready")) == 1
            assert ask('up{job="anysound"}') == 1
            assert ask('sum(anysound_http_request_duration_seconds_count{route="/v1/classify"})') == REQUESTS
            assert ask("anysound_audio_seconds_total") is not None
            quantile = ask("histogram_quantile(0.95, sum by (le) (anysound_http_request_duration_seconds_bucket))")
            assert quantile is not None
            assert 0 < quantile <= BUCKETS[-1]
            assert ask("count(anysound_model_info)") == 1
        finally:
            prometheus.terminate()


def until(ask: Callable[[], float | None]) -> float | None:
    """The first answer there is, of a server that is starting."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if (value := ask()) is not None:
                return value
        except (httpx2.TransportError, json.JSONDecodeError, KeyError):
            pass
        time.sleep(0.1)
    return None
