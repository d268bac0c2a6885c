"""Faults of production, inflicted on the real processes: no request hangs, and no caller pays for another's fault."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from tests.conftest import ROOT, listening, until_ready
from tests.service.conftest import encoded
from tests.service.faulty import KILLS, RAISES

RATE = 8_000
FORM = {"labels": ["dog", "rain"]}


@dataclass
class Service:
    """A running `anysound serve`, whose processes can be found."""

    supervisor: subprocess.Popen[bytes]
    address: str
    log: Path

    def processes(self, module: str) -> list[int]:
        """Process ids of the children that run a module, in the order they were started."""
        children = Path(f"/proc/{self.supervisor.pid}/task/{self.supervisor.pid}/children").read_text().split()
        found = []
        for child in map(int, children):
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(child)
        return found

    @property
    def port(self) -> int:
        return int(self.address.rsplit(":", 1)[1])

    def metric(self, name: str) -> float:
        """Sum over a metric's samples."""
        families = text_string_to_metric_families(httpx2.get(f"{self.address}/metrics").text)
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def until_unready(self) -> None:
        """Wait until the service is not ready; a worker takes seconds to start, so this cannot be missed."""
        while (answer := httpx2.get(f"{self.address}/readyz")).status_code == 200:
            time.sleep(0.01)
        assert answer.status_code == 503


@contextmanager
def running(model: Path, log: Path, *flags: str) -> Iterator[Service]:
    """Run a service without a cache of audio, so that every clip reaches the worker."""
    serve = ["serve", "--port", "0", "--model", str(model), "--audio-cache-bytes", "0", *flags]
    command = [sys.executable, "-m", "tests.service.faulty", *serve]
    with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors) as supervisor:
        try:
            service = Service(supervisor, listening(log), log)
            for _ in range(20):  # each answered by any of the API processes
                until_ready(service.address)
            yield service
        finally:
            supervisor.send_signal(signal.SIGINT)
            try:
                supervisor.wait(20)
            except subprocess.TimeoutExpired:
                supervisor.kill()


@pytest.fixture(scope="module")
def service(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two API processes and a worker; every test leaves it in working order."""
    log = tmp_path_factory.mktemp("faults") / "log"
    with running(tiny_folder, log, "--api-processes", "2", "--request-timeout-s", "8") as service:
        yield service


@pytest.fixture(scope="module")
def clip() -> bytes:
    return encoded(np.random.default_rng(0).normal(0, 0.1, 3 * RATE).astype(np.float32), rate=RATE)


def constant(value: float) -> bytes:
    return encoded(np.full(RATE, value, np.float32), rate=RATE, subtype="FLOAT")


async def classify(client: httpx2.AsyncClient, clip: bytes) -> httpx2.Response:
    return await client.post("/v1/classify", files={"audio": ("clip.wav", clip)}, data=FORM)


@dataclass
class Load:
    """Clients that each send one request after another until told to stop."""

    address: str
    clip: bytes
    answers: list[httpx2.Response] = field(default_factory=list)
    errors: list[httpx2.TransportError] = field(default_factory=list)
    stopping: bool = False

    async def client(self) -> None:
        async with httpx2.AsyncClient(base_url=self.address, timeout=30) as client:
            while not self.stopping:
                try:
                    answer = await classify(client, self.clip)
                except httpx2.TransportError as error:
                    self.errors.append(error)
                    await asyncio.sleep(0.05)
                else:
                    self.answers.append(answer)
                    if answer.status_code != 200:
                        await asyncio.sleep(0.05)

    @property
    def statuses(self) -> Counter[int]:
        return Counter(answer.status_code for answer in self.answers)

    async def until_served(self, more: int = 50) -> None:
        """Wait until this many more requests have got scores."""
        goal = self.statuses[200] + more
        await until(lambda: self.statuses[200] >= goal)


@contextlib.asynccontextmanager
async def load(service: Service, clip: bytes, clients: int = 12) -> AsyncIterator[Load]:
    load = Load(service.address, clip)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(load.client())
        try:
            yield load
        finally:
            load.stopping = True


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


async def test_killing_the_worker_under_load_costs_a_503_and_no_silence(service: Service, clip: bytes) -> None:
    [worker] = service.processes("tests.service.faulty")
    async with load(service, clip) as clients:
        await clients.until_served()
        os.kill(worker, signal.SIGKILL)
        await asyncio.to_thread(service.until_unready)
        await until(lambda: clients.statuses[503])
        await asyncio.to_thread(until_ready, service.address)
        await clients.until_served()
    assert not clients.errors
    assert clients.statuses.keys() == {200, 503}
    for answer in clients.answers:
        if answer.status_code == 503:
            assert answer.json()["code"] in ("not_ready", "overloaded")  # nobody there yet, or too many waited for it
            assert int(answer.headers["retry-after"]) >= 1
    [restarted] = service.processes("tests.service.faulty")
    assert restarted != worker


async def test_killing_the_worker_costs_a_stream_windows_and_no_more(service: Service) -> None:
    opening = {"labels": ["dog", "rain"], "hop_s": 0.25, "encoding": "s16le", "sample_rate": RATE}
    seen: list[str] = []
    async with connect(f"ws://127.0.0.1:{service.port}/v1/stream", compression=None) as socket:
        await socket.send(json.dumps(opening))
        assert json.loads(await socket.recv())["type"] == "ready"

        async def speak() -> None:
            while True:
                await socket.send(bytes(RATE // 5))
                await asyncio.sleep(0.1)

        speaking = asyncio.create_task(speak())
        try:
            async with asyncio.timeout(110):
                while seen[-2:] != ["dropped", "scores"]:
                    seen.append(json.loads(await socket.recv())["type"])
                    if len(seen) == 2:
                        [worker] = service.processes("tests.service.faulty")
                        os.kill(worker, signal.SIGKILL)
        finally:
            speaking.cancel()
    assert seen[:2] == ["scores", "scores"]


async def test_killing_an_api_process_costs_only_its_own_connections(service: Service, clip: bytes) -> None:
    [worker] = service.processes("tests.service.faulty")
    killed, other = service.processes("service.api.server")
    async with load(service, clip, 12) as clients:
        await clients.until_served()
        os.kill(killed, signal.SIGKILL)
        await clients.until_served()
        await until(lambda: len(service.processes("service.api.server")) == 2)
        await clients.until_served()
    assert set(clients.statuses) == {200}
    assert len(clients.errors) <= 12, "each client lost at most the request that the process had"
    assert other in service.processes("service.api.server")
    assert service.processes("tests.service.faulty") == [worker]


async def test_a_clip_that_crashes_the_forward_pass_fails_alone(service: Service, clip: bytes) -> None:
    [worker] = service.processes("tests.service.faulty")
    files = [("audio", ("good", clip)), ("audio", ("bad", constant(RAISES))), ("audio", ("good too", clip))]
    async with load(service, clip) as clients, httpx2.AsyncClient(base_url=service.address, timeout=30) as client:
        await clients.until_served()
        alone = await classify(client, constant(RAISES))
        mixed = await client.post("/v1/classify", files=files, data=FORM, headers={"X-Request-ID": "mixed-1"})
        await clients.until_served()
    assert (alone.status_code, alone.json()["code"]) == (415, "unsupported_audio")
    assert mixed.status_code == 200
    assert ["error" in result for result in mixed.json()["results"]] == [False, True, False]
    assert "anysound.worker request_id=mixed-1 an item was rejected" in service.log.read_text()
    assert set(clients.statuses) == {200}
    assert not clients.errors
    assert service.processes("tests.service.faulty") == [worker]


async def test_a_clip_that_ends_the_worker_costs_a_503(service: Service, clip: bytes) -> None:
    async with load(service, clip) as clients, httpx2.AsyncClient(base_url=service.address, timeout=30) as client:
        await clients.until_served()
        answer = await classify(client, constant(KILLS))
        await clients.until_served()
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
    assert not clients.errors
    assert set(clients.statuses) <= {200, 503}


async def test_clients_that_leave_take_their_work_with_them(service: Service, clip: bytes) -> None:
    request = httpx2.Request(
        "POST", f"{service.address}/v1/classify", files=[("audio", ("clip", clip))] * 16, data=FORM
    )
    head = "POST /v1/classify HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in request.headers.items()) + "\r\n"
    async with load(service, clip) as clients:
        await clients.until_served()
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(head.encode() + request.read())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        await clients.until_served()
    assert set(clients.statuses) == {200}
    await until(lambda: service.metric("anysound_http_requests_in_progress") == 1, 20)  # the one that asks
    await until(lambda: service.metric("anysound_queue_seconds") == 0, 20)


async def trickle(port: int, at_once: bytes, slowly: bytes) -> bytes:
    """Send one byte a second until the service answers or hangs up; what it answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(at_once)
        for byte in slowly:
            writer.write(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(reader.read(200), 1)
    except ConnectionError:
        return b""
    finally:
        writer.close()
    raise AssertionError("the client was never cut off")


async def test_clients_that_send_one_byte_a_second_are_cut_off(service: Service, clip: bytes) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nhost: a\r\ncontent-type: audio/wav\r\ncontent-length: 9999\r\n\r\n"
    async with load(service, clip, 4) as clients:
        answers = await asyncio.gather(trickle(service.port, b"", head), trickle(service.port, head, b"R" * 30))
        await clients.until_served(10)
    assert answers[0] == b"", "without a whole head there is no request to answer"
    assert b" 504 " in answers[1]
    assert set(clients.statuses) == {200}
    assert not clients.errors


async def test_sigterm_at_full_load_fails_no_accepted_request(tiny_folder: Path, tmp_path: Path, clip: bytes) -> None:
    with running(tiny_folder, tmp_path / "log", "--api-processes", "2", "--drain-s", "4") as service:
        async with load(service, clip, 32) as clients:
            await clients.until_served(200)
            service.supervisor.terminate()
            await until(lambda: any(isinstance(error, httpx2.ConnectError) for error in clients.errors))
            clients.stopping = True
        assert await asyncio.to_thread(service.supervisor.wait, 20) == 0
    assert [answer.text for answer in clients.answers if answer.status_code != 200] == []
    assert [error for error in clients.errors if not isinstance(error, httpx2.ConnectError)] == []


GOES_ON = "ended with a configuration error, while the others go on"


def ready(service: Service, kind: str) -> float:
    """How many processes of a kind are ready."""
    families = text_string_to_metric_families(httpx2.get(f"{service.address}/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == "anysound_processes_ready"]
    return next(sample.value for sample in samples if sample.labels["kind"] == kind)


async def test_weights_that_are_being_replaced_stop_no_other_worker(
    tiny_folder: Path, tmp_path: Path, clip: bytes
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_folder, model)
    with running(model, tmp_path / "log", "--device", "cpu,cpu") as service:
        await until(lambda: ready(service, "worker") == 2)
        killed, sibling = service.processes("tests.service.faulty")
        (model / "model.safetensors").rename(tmp_path / "weights")
        async with load(service, clip, 4) as clients:
            await clients.until_served(10)
            os.kill(killed, signal.SIGKILL)
            await until(lambda: GOES_ON in service.log.read_text())
            await clients.until_served(10)
            assert ready(service, "worker") == 1
            assert sibling in service.processes("tests.service.faulty")
            (tmp_path / "weights").rename(model / "model.safetensors")
            await until(lambda: ready(service, "worker") == 2)
        assert clients.statuses.keys() <= {200, 503}
        assert not clients.errors


async def test_a_bad_keys_file_stops_no_other_api_process(tiny_folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"key").hexdigest())
    flags = ("--api-processes", "2", "--api-keys-file", str(keys))
    with running(tiny_folder, tmp_path / "log", *flags) as service:
        await until(lambda: ready(service, "api") == 2)
        killed, sibling = service.processes("service.api.server")
        good = keys.read_text()
        keys.write_text("no hash")
        os.kill(killed, signal.SIGKILL)
        await until(lambda: GOES_ON in service.log.read_text())
        for _ in range(4):
            answer = httpx2.get(f"{service.address}/v1/model", headers={"X-API-Key": "key"})
            assert answer.status_code == 200, "the keys before are in force"
        assert ready(service, "api") == 1
        keys.write_text(good)
        await until(lambda: ready(service, "api") == 2)
        assert sibling in service.processes("service.api.server")
