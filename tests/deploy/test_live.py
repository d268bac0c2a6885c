"""The chart's own configuration of service and Redis, running: Prometheus scrapes it under load, and every query of the
dashboard, the recording rules and the autoscaler gives data."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import yaml
from websockets.sync.client import connect

from tests.conftest import until_ready
from tests.deploy.chart import CHART, Manifest, one
from tests.service.conftest import encoded
from tests.service.redis_server import RULES as ADVISED
from tests.service.redis_server import executable, free_port
from tests.service.spectral import tone

KEY, PASSWORD = "a key", "a password"
ELSEWHERE = ("GPU (DCGM exporter)", "Process (cAdvisor, kube-state-metrics)")
"""Rows whose metrics come from other exporters."""


def start(stack: ExitStack, command: list[str], log: Path, **options: Any) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)

    def stop() -> None:
        process.terminate()
        process.wait(30)

    stack.callback(stop)
    return process


def redis(stack: ExitStack, folder: Path) -> int:
    """A Redis with the chart's redis.conf and the users that its init container writes; the port."""
    binary = executable()
    if binary is None:
        pytest.skip("no redis-server")
    files = one("ConfigMap", "cpu", component="redis")["data"]
    (folder / "password").write_text(PASSWORD + "\n")
    (folder / "users.sh").write_text(files["users.sh"])
    users = ["sh", "users.sh", "password", "anysound", str(folder)]
    subprocess.run(users, cwd=folder, check=True)
    assert PASSWORD not in (folder / "users.acl").read_text()
    port = free_port()
    lines = files["redis.conf"].replace("/data", str(folder)).replace("port 6379", f"port {port}\nbind 127.0.0.1")
    (folder / "redis.conf").write_text(lines)
    start(stack, [binary, str(folder / "redis.conf")], folder / "redis.log")
    return port


def service(stack: ExitStack, folder: Path, redis_port: int) -> tuple[str, int]:
    """`anysound serve` with the variables that the chart gives a pod; its address and the metrics port."""
    container: Manifest = one("Deployment", "cpu")["spec"]["template"]["spec"]["containers"][0]
    (folder / "keys").write_text(hashlib.sha256(KEY.encode()).hexdigest() + "\n")
    port, metrics_port = free_port(), free_port()
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    given = {name: value for name, value in given.items() if name.startswith("ANYSOUND_")}
    given |= {"ANYSOUND_HOST": "127.0.0.1", "ANYSOUND_PORT": str(port), "ANYSOUND_METRICS_PORT": str(metrics_port)}
    given["ANYSOUND_REDIS_URL"] = given["ANYSOUND_REDIS_URL"].replace("anysound-redis:6379", f"127.0.0.1:{redis_port}")
    given["ANYSOUND_REDIS_PASSWORD_FILE"] = str(folder / "password")
    given["ANYSOUND_API_KEYS_FILE"] = str(folder / "keys")
    command = [sys.executable, "-m", "anysound", *container["args"]]
    start(stack, command, folder / "service.log", env={**os.environ, **given})
    return f"http://127.0.0.1:{port}", metrics_port


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(
    ("values", "gone", "said"),
    [
        ("gpu", "ANYSOUND_MODEL", "is not a checkpoint: config.json cannot be read"),
        ("cpu", "ANYSOUND_API_KEYS_FILE", "cannot read the API keys"),
        ("cpu", "ANYSOUND_REDIS_PASSWORD_FILE", "cannot use Redis"),
    ],
)
def test_a_pod_without_what_it_needs_ends_and_says_why(tmp_path: Path, values: str, gone: str, said: str) -> None:
    """Its last log line is what `kubectl describe pod` shows."""
    container: Manifest = one("Deployment", values)["spec"]["template"]["spec"]["containers"][0]
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    (tmp_path / "keys").write_text("0" * 64)
    variables = {"ANYSOUND_PORT": str(free_port()), "ANYSOUND_API_KEYS_FILE": str(tmp_path / "keys")}
    if gone in given:
        variables |= {gone: given[gone]}
    if gone == "ANYSOUND_REDIS_PASSWORD_FILE":
        variables |= {"ANYSOUND_REDIS_URL": given["ANYSOUND_REDIS_URL"]}
    command = [sys.executable, "-m", "anysound", *container["args"], "--host", "127.0.0.1"]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def prometheus_server(stack: ExitStack, folder: Path, program: str, metrics_port: int) -> str:
    """A Prometheus with the chart's rules, evaluated often, and the labels that a ServiceMonitor gives."""
    rules = (CHART / "files" / "rules.yaml").read_text().replace("interval: 30s", "interval: 1s")
    (folder / "rules.yaml").write_text(rules)
    labels = {"namespace": "anysound", "pod": "anysound-1", "service": "anysound"}
    targets = {"targets": [f"127.0.0.1:{metrics_port}"], "labels": labels}
    configuration = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yaml")],
        "scrape_configs": [{"job_name": "anysound", "static_configs": [targets]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    port = free_port()
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    start(stack, [program, *(f"--{name}={value}" for name, value in options.items())], folder / "prometheus.log")
    return f"http://127.0.0.1:{port}"


def load(address: str, over: threading.Event) -> None:
    """Clips new and known, prompts new and known, a file that is no sound, and a caller without a key."""
    known = encoded(tone(440))
    with httpx2.Client(base_url=address, headers={"X-API-Key": KEY}) as client:
        number = 0
        while not over.is_set():
            number += 1
            labels = {"labels": ["dog", "rain", f"sound {number}"]}
            for clip in (encoded(tone(100 + number)), known, b"no sound"):
                client.post("/v1/classify", params=labels, content=clip, headers={"Content-Type": "audio/wav"})
            client.post("/v1/classify", params=labels, content=known, headers={"X-API-Key": "wrong"})


def listen(address: str, over: threading.Event) -> None:
    """A stream at real time, whose scores are read."""
    rate = 8_000
    second = (np.random.default_rng(0).standard_normal(rate) * 3_000).astype("<i2").tobytes()
    opening = {"encoding": "s16le", "sample_rate": rate, "labels": ["dog", "rain"], "hop_s": 0.5}
    url = f"ws{address.removeprefix('http')}/v1/stream"
    with connect(url, compression=None, additional_headers={"X-API-Key": KEY}) as stream:
        stream.send(json.dumps(opening))
        assert json.loads(stream.recv())["type"] == "ready"
        while not over.wait(1):
            stream.send(second)
            with suppress(TimeoutError):
                while True:
                    stream.recv(timeout=0.01)


@dataclass
class Running:
    prometheus: str
    service_log: Path

    def ask(self, expression: str) -> list[float]:
        """The values of an instant query. Raises where Prometheus does not understand it."""
        answer = httpx2.get(f"{self.prometheus}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return [float(each["value"][1]) for each in answer["data"]["result"]]

    def until_data(self, expression: str, seconds: float = 40) -> list[float]:
        """The values once there are some that are numbers."""
        end = time.monotonic() + seconds
        while True:
            values = self.ask(expression)
            if any(math.isfinite(value) for value in values) or time.monotonic() > end:
                return values
            time.sleep(0.25)


@pytest.fixture(scope="module")
def running(helm: None, prometheus: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("live")
    with ExitStack() as stack:
        address, metrics_port = service(stack, folder, redis(stack, folder))
        server = prometheus_server(stack, folder, prometheus, metrics_port)
        until_ready(address)
        over = threading.Event()
        for client in (load, listen):
            caller = threading.Thread(target=client, args=(address, over))
            caller.start()
            stack.callback(caller.join)
        stack.callback(over.set)
        yield Running(server, folder / "service.log")


def panels() -> list[tuple[str, str, str]]:
    """Row, panel and expression of every query on the dashboard."""
    found, row = [], ""
    for panel in json.loads((CHART / "files" / "dashboards" / "anysound.json").read_text())["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        found += [(row, panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return found


def chosen(expression: str) -> str:
    """The query as Grafana sends it with every pod chosen."""
    for name, value in (("$namespace", ".*"), ("$pod", ".*"), ("$__rate_interval", "10s")):
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


@pytest.mark.parametrize(
    ("panel", "expression"), [(panel, expression) for row, panel, expression in panels() if row not in ELSEWHERE]
)
def test_every_panel_shows_data(running: Running, panel: str, expression: str) -> None:
    values = running.until_data(chosen(expression))
    assert any(math.isfinite(value) for value in values), f"{panel}: {values} for {expression}"


@pytest.mark.parametrize(
    ("panel", "expression"), [(panel, expression) for row, panel, expression in panels() if row in ELSEWHERE]
)
def test_every_other_panel_is_understood(running: Running, panel: str, expression: str) -> None:
    assert running.ask(chosen(expression)) == []


@pytest.mark.parametrize(
    "record",
    [
        rule["record"]
        for group in yaml.safe_load((CHART / "files" / "rules.yaml").read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    ],
)
def test_every_recording_rule_records(running: Running, record: str) -> None:
    assert any(math.isfinite(value) for value in running.until_data(record))


def test_the_autoscaler_reads_the_audio_that_waits(running: Running) -> None:
    trigger = one("ScaledObject", "keda")["spec"]["triggers"][0]["metadata"]
    assert running.until_data(trigger["query"]) != []
    assert one("HorizontalPodAutoscaler", "cpu")["spec"]["metrics"][0]["pods"]["metric"]["name"] in trigger["query"]


def test_no_alert_fires_on_a_service_in_order(running: Running) -> None:
    assert running.ask('ALERTS{alertstate="firing",severity="critical"}') == []


def test_redis_lets_the_service_do_what_it_does_and_no_more(running: Running) -> None:
    """The chart's Redis answers its look-ups; what it is allowed is what the service advises."""
    assert running.until_data('sum(anysound_cache_requests_total{tier="redis",result=~"hit|miss"}) > 0')
    assert "NOPERM" not in running.service_log.read_text()
    commands = (CHART / "templates" / "redis.yaml").read_text().split('define "anysound.redisCommands" -}}\n')[1]
    assert set(commands.split("\n")[0].split()) == {
        word for word in ADVISED.split() if word not in ("~anysound:*", "-@all")
    }
