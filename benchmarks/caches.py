"""The cost and the gain of caches, limits and keys. Prints one row per promise of docs/caches.md.

python -m benchmarks.caches [--skip-service]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import io
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx2
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from model.audio import AudioError, Limits
from service.cache.prompt_cache import PromptCache
from service.cache.redis_client import connect
from service.cache.redis_link import RedisLink
from service.decoding.pool import DecodePool
from service.decoding.shape import Shape
from service.ipc.embedding import Embedded, Priority, Vectors
from service.settings import Settings
from tests.conftest import ROOT, listening, until_ready
from tests.service.decoding.attacks import attacked
from tests.service.fault_proxy import FaultProxy
from tests.service.redis_server import PASSWORD, USER, RedisServer
from tests.service.spectral import SpectralEmbedder

LABELS = [f"the sound of thing {number}" for number in range(50)]
table = Table("what", "measured", "asked for", title="caches, limits and keys", title_justify="left")


def row(what: str, measured: str, asked: str) -> None:
    table.add_row(what, measured, asked)


def ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def spread(times: Sequence[float]) -> str:
    """The median and the 99th percentile, as text."""
    return f"{ms(statistics.median(times))} (p99 {ms(float(np.quantile(times, 0.99)))}, n {len(times)})"


class Instant(SpectralEmbedder):
    """An embedder that takes no time, so that the cache alone is measured."""

    async def embed_text(self, prompts: Sequence[str], **_: object) -> Embedded:
        self.prompts += prompts
        vectors: Vectors = np.zeros((len(prompts), self.info.config.joint_dim), np.float32)
        vectors[:, 0] = 1
        return Embedded(vectors, 0.0, 0.0)


async def timed(ask: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await ask()
    return time.perf_counter() - began


async def caches(redis: RedisServer) -> None:
    embedder, settings = Instant(), Settings()
    async with AsyncExitStack() as stack:

        async def process(url: str) -> PromptCache:
            link = await stack.enter_async_context(RedisLink(connect(url), settings.redis_timeout_s))
            await link._warming  # as in a process that has started
            return PromptCache(embedder, settings.prompt_cache_size, link, settings.redis_ttl_s)

        def ask(cache: PromptCache, labels: list[str]) -> Callable[[], Awaitable[object]]:
            return lambda: cache.get(labels, time.monotonic() + 30, Priority.INTERACTIVE)

        first = await process(redis.url)
        await ask(first, LABELS)()
        await first.flush()
        row("50 labels, L1 hit", spread([await timed(ask(first, LABELS)) for _ in range(2_000)]), "< 0.5 ms")
        fresh = [await timed(ask(await process(redis.url), LABELS)) for _ in range(50)]
        row("50 labels, Redis hit, first request of a process", spread(fresh), "< 5 ms")

        embedder.prompts.clear()
        new = [f"new {label}" for label in LABELS]
        await asyncio.gather(*(ask(first, new)() for _ in range(100)))
        row("100 requests at once, 50 new labels: computed", f"{len(embedder.prompts)} prompts", "50 prompts")

        async with FaultProxy(redis.port) as proxy:
            cache = await process(f"redis://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}/0")
            numbers = iter(range(1_000_000))

            def another() -> Callable[[], Awaitable[object]]:
                number = next(numbers)
                return ask(cache, [f"{label} {number}" for label in LABELS])

            healthy = [await timed(another()) for _ in range(300)]
            await cache.flush()
            proxy.fault = "black hole"
            hole = [await timed(another()) for _ in range(3)]
            opened = [await timed(another()) for _ in range(300)]
        p99 = float(np.quantile(healthy, 0.99))
        row("50 new labels, Redis answers", spread(healthy), "")
        row("Redis silent, the first three requests over the healthy p99", f"+ {ms(max(hole) - p99)}", "+ 60 ms")
        row("Redis silent, breaker open, over the healthy p99", ms(float(np.quantile(opened, 0.99)) - p99), "+ 2 ms")


async def sandbox() -> None:
    times = []
    async with DecodePool(1, Limits(), decode=attacked) as pool:
        for _ in range(20):
            for clip in (b"leave", b"not a sound"):
                began = time.perf_counter()
                try:
                    await pool.decode(clip, Shape(8_000, 8_000, 8_000, "zero"))
                except AudioError:
                    times.append(time.perf_counter() - began)
    back = [crashed + following for crashed, following in zip(times[::2], times[1::2], strict=True)]
    row("a decoder crashes, the next clip is answered", spread(back), "< 200 ms")


# The running service


@contextmanager
def service(*flags: str) -> Iterator[tuple[str, int]]:
    """Address and process id of `anysound serve`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "anysound", "serve", "--port", "0", "--drain-s", "1", *flags]
        with (
            log.open("wb") as errors,
            subprocess.Popen(command, cwd=ROOT, stderr=errors) as server,
        ):
            try:
                address = listening(log)
                until_ready(address)
                yield address, server.pid
            finally:
                server.terminate()


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> float:
    """Memory of a process and its descendants in MiB, as proportional set size."""
    total = 0
    for each in family(pid):
        try:
            found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(), re.MULTILINE)
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1024


class Peak:
    """Measure the peak memory of a service inside the context, as an increase over its start."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._before = self._most = resident(pid)
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._most = max(self._most, resident(self._pid))

    @property
    def more(self) -> float:
        return self._most - self._before


def silent_flac(hours: float) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 44_100, 1, format="FLAC") as out:
        for _ in range(round(hours * 60)):
            out.write(np.zeros(44_100 * 60, np.int16))
    return file.getvalue()


def lying_flac() -> bytes:
    """A header that claims 2^36 - 1 samples (STREAMINFO, https://www.rfc-editor.org/rfc/rfc9639#section-8.2)."""
    data = bytearray(silent_flac(1 / 60))
    at = 8 + 10
    packed = int.from_bytes(data[at : at + 8], "big") | (1 << 36) - 1
    data[at : at + 8] = struct.pack(">Q", packed)
    return bytes(data)


def abuse(address: str, pid: int) -> None:
    for what, clip in (("3 h of silence as FLAC", silent_flac(3)), ("a FLAC header that lies", lying_flac())):
        with Peak(pid) as peak:
            began = time.perf_counter()
            answer = httpx2.post(f"{address}/v1/classify?labels=a&labels=b", content=clip, headers=AUDIO, timeout=60)
            seconds = time.perf_counter() - began
        row(what, f"{answer.status_code} in {ms(seconds)}, + {peak.more:.0f} MiB", "4xx, < 1 s, < 64 MB")
    with Peak(pid) as peak:
        began = time.perf_counter()
        outcome = chunked(address)
        seconds = time.perf_counter() - began
    row("300 MB in chunks", f"{outcome} in {ms(seconds)}, + {peak.more:.0f} MiB", "4xx, < 1 s, < 64 MB")


AUDIO = {"Content-Type": "audio/flac"}


def chunked(address: str) -> str:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/v1/classify?labels=a&labels=b")
    connection.putheader("Content-Type", "audio/wav")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    sent = 0
    try:
        for _ in range(300):
            connection.send(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
            sent += 1
    except OSError:
        pass
    try:
        return f"{connection.getresponse().status} after {sent} MiB"
    except (OSError, http.client.HTTPException):
        return f"cut off after {sent} MiB"


def label_sets(address: str) -> None:
    clip = (ROOT / "examples" / "crow.flac").read_bytes()
    names = [f"thing {number}" for number in range(1_000)]
    httpx2.put(f"{address}/v1/label-sets/thousand", json={"labels": names}, timeout=120).raise_for_status()
    httpx2.put(f"{address}/v1/label-sets/two", json={"labels": names[:2]}, timeout=120).raise_for_status()
    with httpx2.Client(timeout=120) as client:

        def text_ms(label_set: str) -> float:
            query = {"label_set": label_set, "top_k": "5"}
            answer = client.post(f"{address}/v1/classify", params=query, content=clip, headers=AUDIO)
            answer.raise_for_status()
            stages = dict(re.findall(r"(\w+);dur=([0-9.]+)", answer.headers["server-timing"]))
            return float(stages["text_embed"]) / 1e3

        text_ms("thousand")
        times = [text_ms("thousand") for _ in range(100)]
    row("1,000 labels by id: waiting for text", spread(times), "no text work")


def keys() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys"
        right = "k" * 40
        file.write_text(hashlib.sha256(right.encode()).hexdigest() + "\n")
        with service("--api-keys-file", str(file)) as (address, _), httpx2.Client() as client:
            times: dict[str, list[float]] = {"near": [], "far": []}
            statuses = set()
            for number in range(500):
                for kind, key in (("near", right[:36] + f"{number:04d}"), ("far", f"{number:04d}" * 10)):
                    began = time.perf_counter()
                    statuses.add(client.get(f"{address}/v1/model", headers={"X-API-Key": key}).status_code)
                    times[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(each) for kind, each in times.items()}
    row("1,000 wrong keys", f"all {sorted(statuses)}", "all 401")
    measured = f"{ms(medians['near'])} near, {ms(medians['far'])} far from a valid one"
    row("1,000 wrong keys, median time to refuse", measured, "no difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip-service", action="store_true", help="run only the measurements that need no model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        asyncio.run(caches(redis))
        asyncio.run(sandbox())
        if not arguments.skip_service:
            with service("--redis-url", redis.url, "--audio-cache-bytes", "0") as (address, pid):
                label_sets(address)
                abuse(address, pid)
            keys()
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
