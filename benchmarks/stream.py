"""Live audio at real time: `python -m benchmarks.stream [--streams 8] [--hop 1] [--seconds 60]`.

Each stream sends noise and recordings in pieces of 0.1 s, at 48 kHz, as a microphone does. Prints the delay of scores
behind the audio that their window ends with, dropped windows, and the service's CPU time for a second of a stream. The
exit status is 1 if the p95 of the delay is above the hop + 0.3 s. Windows differ, so every one is computed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.labels import LABELS
from benchmarks.measurement import cpu_s
from benchmarks.systems import anysound
from model.audio import load

RATE = 48_000
PIECE_S = 0.1
ALLOWED_S = 0.3
EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass
class Heard:
    """What one stream got: delays in seconds, and how many windows were dropped."""

    delays_s: list[float] = field(default_factory=list)
    dropped: int = 0


def audio(seed: int, seconds: float) -> bytes:
    """16-bit samples: noise with recordings in it, other ones for each stream."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal(round(seconds * RATE)).astype(np.float32) * 0.01
    recordings = [load(path, RATE) for path in sorted(EXAMPLES.glob("*.*")) if path.suffix in {".flac", ".wav"}]
    at = 0
    while recordings:
        recording = recordings[random.integers(len(recordings))]
        at += round(random.uniform(1, 4) * RATE)
        if at + len(recording) > len(samples):
            break
        samples[at : at + len(recording)] += recording * 0.5
        at += len(recording)
    data: bytes = (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()
    return data


async def stream(url: str, seed: int, seconds: float, hop_s: float) -> Heard:
    """One stream, sent at real time."""
    data, heard = audio(seed, seconds), Heard()
    async with connect(url, compression=None) as socket:
        await socket.send(
            json.dumps({"labels": list(LABELS), "hop_s": hop_s, "encoding": "s16le", "sample_rate": RATE, "top_k": 5})
        )
        json.loads(await socket.recv())
        await asyncio.sleep(np.random.default_rng(seed).uniform(0, hop_s))  # streams begin at any time
        began = time.monotonic()
        sending = asyncio.create_task(send(socket, data, began))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "scores":
                heard.delays_s.append(time.monotonic() - began - message["end_s"])
            elif message["type"] == "dropped":
                heard.dropped += message["windows"]
        await sending
    return heard


async def send(socket: ClientConnection, data: bytes, began: float) -> None:
    size = 2 * round(PIECE_S * RATE)
    for number, at in enumerate(range(0, len(data), size), 1):
        await asyncio.sleep(max(0.0, began + number * PIECE_S - time.monotonic()))
        await socket.send(data[at : at + size])
    await socket.send('{"type": "end"}')


async def streams(url: str, count: int, seconds: float, hop_s: float) -> list[Heard]:
    return await asyncio.gather(*(stream(url, seed, seconds, hop_s) for seed in range(count)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--hop", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, anysound(options.model, Path(folder) / "log") as running:
        url = f"ws://{running.target.host}:{running.target.port}/v1/stream"
        asyncio.run(streams(url, 1, 7, options.hop))  # prompts are embedded, threads have started
        pids = [pid for each in running.processes().values() for pid in each]
        before = cpu_s(pids)
        heard = asyncio.run(streams(url, options.streams, options.seconds, options.hop))
        used_s = cpu_s(pids) - before
    delays = np.array([delay for each in heard for delay in each.delays_s])
    p50, p95 = np.percentile(delays, [50, 95])
    table = Table("streams", "hop", "windows", "dropped", "delay p50", "p95", "max", "CPU per stream second")
    table.add_row(
        str(options.streams),
        f"{options.hop:g} s",
        str(len(delays)),
        str(sum(each.dropped for each in heard)),
        *(f"{1e3 * delay:.0f} ms" for delay in (p50, p95, delays.max())),
        f"{1e3 * used_s / (options.streams * options.seconds):.1f} ms",
    )
    Console(width=140).print(table)
    return int(p95 > options.hop + ALLOWED_S)


if __name__ == "__main__":
    sys.exit(main())
