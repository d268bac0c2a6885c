"""Part b: the service on a device, and the faults it has to survive: each is provoked for real."""

from __future__ import annotations

import http.client
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.gpu.faulty import BREAKS
from benchmarks.gpu.models import BUNDLED, made
from benchmarks.gpu.part import Part, of_arguments
from benchmarks.measurement import children, tree
from benchmarks.systems import QUERY, free_port
from service.supervise.supervisor import worker_threads

ROOM_BYTES = 192 << 20
"""Memory that is left to the worker's batches: less than a batch of 64 needs."""

CPU_ROOM_BYTES = 64 << 20
"""The same on a CPU, where a batch has 16 windows at most, and everything else in the process needs memory too."""


def wav(samples: np.ndarray[tuple[int], np.dtype[np.int16]], rate: int = 32_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


class Service:
    """A service that runs, its log, and questions to it."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.port = port
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def worker(self) -> int:
        """The worker's process id. Raises StopIteration while there is none."""
        below = children(self.process.pid)
        return next(pid for pid in below if b"--endpoint" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def classify(self, clip: bytes, timeout_s: float = 60.0) -> int:
        """The status of the answer to one clip."""
        url = f"http://127.0.0.1:{self.port}/v1/classify?{QUERY}"
        request = urllib.request.Request(url, clip, {"Content-Type": "audio/wav"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    @property
    def ready(self) -> int:
        """The status of /readyz."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def until(self, status: int, seconds: float) -> float:
        """Seconds until /readyz has this status. Raises TimeoutError."""
        began = time.monotonic()
        while self.ready != status:
            if time.monotonic() - began > seconds:
                raise TimeoutError(
                    f"/readyz is {self.ready} and not {status} after {seconds:.0f} s: {self.log[-1000:]}"
                )
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended: {self.log[-1000:]}")
            time.sleep(0.02)
        return time.monotonic() - began


@contextmanager
def serving(part: Part) -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gpu.faulty", "serve", "--port", str(port), "--device", part.device]
    command += ["--model", str(made(BUNDLED, part.pack, part.quick)), "--decode-sandbox", "best-effort"]
    command += ["--dtype", "float32", "--audio-cache-bytes", "0", "--max-queue-seconds", "6000"]
    log = part.out.with_suffix(".service.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **worker_threads()}
        )
    try:
        yield Service(port, process, log)
    finally:
        left = tree(process.pid)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in left:
                os.kill(pid, signal.SIGKILL)


def recovers(part: Part, service: Service, what: str, clip: bytes) -> None:
    """After a fault: readiness says 503, then 200 again, and clips are scored."""
    service.until(503, 30)
    seconds = service.until(200, 120)
    status = service.classify(clip)
    part.note(what, f"503, ready again after {seconds:.1f} s, then {status}", "ready again, then 200", status == 200)


@contextmanager
def little_memory(part: Part, service: Service) -> Iterator[None]:
    """Leave the worker ROOM_BYTES: another process takes the GPU's memory, or the kernel limits the address space."""
    if part.device == "cpu":
        pid = service.worker
        now = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.prlimit(pid, resource.RLIMIT_AS, (now + CPU_ROOM_BYTES, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_AS, before)
        return
    script = (
        "import sys, torch\n"
        "free, _ = torch.cuda.mem_get_info()\n"
        f"taken = torch.empty(max(1, free - {ROOM_BYTES}), dtype=torch.uint8, device='cuda')\n"
        "torch.cuda.synchronize(); print('taken', flush=True); sys.stdin.read()\n"
    )
    taker = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert taker.stdout is not None
        if taker.stdout.readline() != b"taken\n":
            raise RuntimeError("the GPU's memory could not be taken")
        yield
    finally:
        taker.kill()
        taker.wait()


def out_of_memory(part: Part, service: Service, clip: bytes) -> None:
    """A long clip, whose windows are one large batch, while there is memory for a small one only."""
    chance = np.random.default_rng(0)
    seconds = 80 if part.device == "cpu" else 500
    long = wav(chance.integers(-8_000, 8_000, seconds * 32_000, np.int16))
    with little_memory(part, service):
        status = service.classify(long, 120)
    halved = "out of memory: batches now have" in service.log
    after = service.classify(clip)
    holds = halved and status == after == 200
    part.note("out of memory", f"{status}, halved: {halved}, afterwards {after}", "200, halved, 200", holds)


def stopped_under_load(part: Part, service: Service, clip: bytes) -> None:
    """SIGTERM while clients send: every request that was accepted is answered."""
    answers: Counter[str] = Counter()
    draining = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        while True:
            try:
                connection.request("POST", f"/v1/classify?{QUERY}", clip, {"Content-Type": "audio/wav"})
                answer = connection.getresponse()
                answer.read()
            except ConnectionRefusedError:
                answers["refused after the end"] += 1
                return
            except (OSError, http.client.HTTPException) as error:
                # A reused connection may be closed by the server between two requests; anything else is a loss.
                answers["closed while idle" if draining.is_set() else type(error).__name__] += 1
                return
            answers[str(answer.status)] += 1
            if answer.getheader("connection") == "close":
                connection.close()

    clients = [threading.Thread(target=client, daemon=True) for _ in range(8)]
    for each in clients:
        each.start()
    time.sleep(1 if part.quick else 3)
    draining.set()
    service.process.send_signal(signal.SIGTERM)
    status = service.process.wait(60)
    for each in clients:
        each.join(30)
    lost = sum(count for name, count in answers.items() if name not in ("200", "503", "refused after the end"))
    described = ", ".join(f"{name}: {count}" for name, count in sorted(answers.items()))
    part.note("SIGTERM under load", f"exit {status}; {described}", "exit 0, nothing lost", status == 0 and lost == 0)


def main() -> None:
    part = of_arguments("faults")
    clip = sorted((part.pack / "recordings").glob("*.wav"))[0].read_bytes()
    with part.guard("the service"), serving(part) as service:
        part.note("start", f"ready after {service.until(200, 120):.1f} s", "", True)
        with part.guard("classify"):
            status = service.classify(clip)
            part.note("classify", str(status), "200", status == 200)
        # Before anything large has run: the allocator of a GPU keeps what a large batch took.
        with part.guard("out of memory"):
            out_of_memory(part, service, clip)
        with part.guard("worker killed"):
            service.until(200, 60)
            os.kill(service.worker, signal.SIGKILL)
            recovers(part, service, "worker killed", clip)
        with part.guard("fault of the device"):
            status = service.classify(wav(np.full(32_000, BREAKS, np.int16)))
            part.note("the clip that breaks the device", str(status), "503", status == 503)
            recovers(part, service, "fault of the device", clip)
            if part.device != "cpu":
                part.note("fault of the device, log", "", "the device failed", "the device failed" in service.log)
        with part.guard("SIGTERM under load"):
            stopped_under_load(part, service, clip)


if __name__ == "__main__":
    main()
