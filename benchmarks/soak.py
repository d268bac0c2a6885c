"""Hours of mixed traffic in minutes, with a process killed every minute: `python -m benchmarks.soak --minutes 30`.

Clients send recordings of many formats and lengths, some of them broken, with ever new labels, label sets, texts and
bulk work. Once per minute a worker, an API process or a decoder is killed. The run passes if no answer is 500 or above,
except 503 with Retry-After. Memory and descriptors are reported.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
import httpx
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import resident_mib, roles, tree
from benchmarks.systems import Running, anysound

EXAMPLES = Path(__file__).parents[1] / "examples"
CLIENTS = 16
SAMPLE_S = 5.0
SETTLED_MINUTES = 5.0
"""Memory after this time is what the end is compared with."""
WORDS = ("dog", "rain", "engine", "bell", "crow", "drums", "speech", "wind", "door", "choir", "water", "siren")


@dataclass
class Tally:
    """The answers, and the memory and descriptors of the service's processes."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    broken_off: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    memory_mib: list[tuple[float, float]] = field(default_factory=list)
    descriptors: list[tuple[float, int]] = field(default_factory=list)
    slowest_s: float = 0.0


def encoded(samples: np.ndarray, rate: int, container: str, codec: str) -> bytes:
    """A mono float32 recording, written by FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = cast("av.AudioStream", output.add_stream(codec, rate=rate))
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            output.mux(packet)
    return buffer.getvalue()


def recordings() -> list[tuple[str, bytes]]:
    """Name and bytes of each: every format, half a second to a minute, and some that cannot be read."""
    made: list[tuple[str, bytes]] = []
    for path in sorted(EXAMPLES.glob("*.*")):
        if path.suffix not in (".flac", ".wav"):
            continue
        made.append((path.name, path.read_bytes()))
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples[:, 0]
        for kind in ("OGG", "AIFF"):
            buffer = io.BytesIO()
            soundfile.write(buffer, mono, rate, format=kind)
            made.append((f"{path.stem}.{kind.lower()}", buffer.getvalue()))
        if rate in (44_100, 48_000):
            made.append((f"{path.stem}.mp3", encoded(mono, rate, "mp3", "libmp3lame")))
            made.append((f"{path.stem}.m4a", encoded(mono, rate, "ipod", "aac")))
    samples, rate = soundfile.read(EXAMPLES / "drums.flac", dtype="float32", always_2d=True)
    minute = io.BytesIO()
    soundfile.write(minute, np.resize(samples[:, 0], 60 * rate), rate, format="FLAC")
    made.append(("minute.flac", minute.getvalue()))
    whole = (EXAMPLES / "choir.flac").read_bytes()
    made += [
        ("cut.flac", whole[: len(whole) // 2]),
        ("noise.bin", random.Random(0).randbytes(4096)),
        ("empty.wav", b""),
    ]
    return made


class Traffic:
    """Endless requests; each client runs a loop of its own."""

    def __init__(self, address: str, tally: Tally) -> None:
        self.address = address
        self.tally = tally
        self.clips = recordings()
        self.numbers = itertools.count()

    async def client(self, seed: int, until: float) -> None:
        draw = random.Random(seed)
        kinds = [self.form, self.form, self.raw, self.long_bulk, self.label_set, self.texts]
        async with httpx.AsyncClient(base_url=self.address, timeout=60) as http:
            while time.monotonic() < until:
                ask = draw.choice(kinds)
                began = time.monotonic()
                try:
                    for answer in await ask(http, draw):
                        self.note(ask.__name__, answer)
                        if answer.status_code == 503:
                            await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), 2.0))
                except httpx.TransportError:  # the API process that had the connection was killed
                    self.tally.broken_off += 1
                    await asyncio.sleep(0.2)
                self.tally.slowest_s = max(self.tally.slowest_s, time.monotonic() - began)

    def note(self, kind: str, answer: httpx.Response) -> None:
        self.tally.statuses[kind, answer.status_code] += 1
        honest = answer.status_code == 503 and "retry-after" in answer.headers
        if answer.status_code >= 500 and not honest:
            self.tally.unexpected.append(f"{kind}: {answer.status_code} {answer.text[:200]}")

    def labels(self, draw: random.Random) -> list[str]:
        """Labels of which some repeat and others are always new."""
        new = [f"{draw.choice(WORDS)} number {next(self.numbers)}" for _ in range(draw.randint(0, 4))]
        return [*draw.sample(WORDS, draw.randint(2, 6)), *new]

    async def form(self, http: httpx.AsyncClient, draw: random.Random) -> list[httpx.Response]:
        clips = draw.sample(self.clips, draw.randint(1, 4))
        files = [("audio", (name, data)) for name, data in clips]
        data = {"labels": self.labels(draw), "timeline": str(draw.random() < 0.2).lower()}
        return [await http.post("/v1/classify", files=files, data=data)]

    async def raw(self, http: httpx.AsyncClient, draw: random.Random) -> list[httpx.Response]:
        name, data = draw.choice(self.clips)
        data = data[:-2] + draw.randbytes(2) if name.endswith(".wav") else data  # so that no cache has it
        params = {"labels": self.labels(draw)}
        headers = {"Content-Type": "application/octet-stream"}
        return [await http.post("/v1/classify", params=params, content=data, headers=headers)]

    async def long_bulk(self, http: httpx.AsyncClient, draw: random.Random) -> list[httpx.Response]:
        minute = next(data for name, data in self.clips if name == "minute.flac")
        files = [("audio", (f"{number}.flac", minute)) for number in range(draw.randint(1, 3))]
        headers = {"X-Priority": "bulk"}
        return [await http.post("/v1/classify", files=files, data={"labels": self.labels(draw)}, headers=headers)]

    async def label_set(self, http: httpx.AsyncClient, draw: random.Random) -> list[httpx.Response]:
        name = f"set-{draw.randint(0, 20)}"
        answers = [await http.put(f"/v1/label-sets/{name}", json={"labels": self.labels(draw)})]
        clip = draw.choice(self.clips[:4])
        answers.append(await http.post("/v1/classify", files={"audio": clip}, data={"label_set": name}))
        if draw.random() < 0.3:
            answers.append(await http.delete(f"/v1/label-sets/{name}"))
        return answers

    async def texts(self, http: httpx.AsyncClient, draw: random.Random) -> list[httpx.Response]:
        return [await http.post("/v1/embeddings", json={"input": self.labels(draw)})]


async def kill_each_minute(running: Running, tally: Tally, until: float) -> None:
    for role in itertools.cycle(("worker", "api", "decode")):
        if time.monotonic() + 60 > until:
            return
        await asyncio.sleep(60)
        if found := roles(running.pid)[role]:  # none while it is being restarted
            os.kill(random.choice(found), signal.SIGKILL)
            tally.kills[role] += 1


async def watch(running: Running, tally: Tally, began: float, until: float) -> None:
    while time.monotonic() < until:
        pids = tree(running.pid)
        at = time.monotonic() - began
        tally.memory_mib.append((at, resident_mib(pids)))
        tally.descriptors.append((at, sum(descriptors(pid) for pid in pids)))
        await asyncio.sleep(SAMPLE_S)


def descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - the directory changes while it is read
    except OSError:
        return 0


async def soak(running: Running, minutes: float, tally: Tally) -> None:
    target = running.target
    traffic = Traffic(f"http://{target.host}:{target.port}", tally)
    began = time.monotonic()
    until = began + 60 * minutes
    clients = [traffic.client(seed, until) for seed in range(CLIENTS)]
    await asyncio.gather(*clients, kill_each_minute(running, tally, until), watch(running, tally, began, until))


def median_between(samples: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    return float(np.median([value for at, value in samples if begin <= at <= end] or [np.nan]))


def report(tally: Tally, minutes: float, console: Console) -> bool:
    """Print the results. Returns whether the run passes."""
    table = Table("request", "status", "answers")
    for (kind, status), count in sorted(tally.statuses.items()):
        table.add_row(kind, str(status), str(count))
    console.print(table)
    settled = 60 * min(SETTLED_MINUTES, minutes / 3)
    memory = [median_between(tally.memory_mib, at, at + 60) for at in (settled, 60 * minutes - 60)]
    held = [median_between(tally.descriptors, at, at + 60) for at in (settled, 60 * minutes - 60)]
    console.print(f"killed: {dict(tally.kills)}; connections cut by a kill: {tally.broken_off}")
    console.print(f"slowest request: {tally.slowest_s:.1f} s")
    console.print(f"answers of 500 and above, without 503 with Retry-After: {len(tally.unexpected)}")
    for line in tally.unexpected[:10]:
        console.print(f"  {line}", highlight=False)
    console.print(
        f"memory: {memory[0]:.0f} MiB after {settled / 60:.0f} minutes, {memory[1]:.0f} at the end, "
        f"{100 * (memory[1] / memory[0] - 1):+.1f} %"
    )
    console.print(f"descriptors: {held[0]:.0f}, {held[1]:.0f} at the end")
    return not tally.unexpected


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("flags", nargs="*", help="Further options of `anysound serve`, after --.")
    options = parser.parse_args(arguments)
    tally = Tally()
    console = Console()
    with (
        tempfile.TemporaryDirectory() as folder,
        anysound(
            None, Path(folder) / "log", "--api-processes", "2", "--audio-cache-bytes", str(8 << 20), *options.flags
        ) as running,
    ):
        asyncio.run(soak(running, options.minutes, tally))
    return 0 if report(tally, options.minutes, console) else 1


if __name__ == "__main__":
    sys.exit(main())
