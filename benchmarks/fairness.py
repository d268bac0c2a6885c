"""An interactive caller beside a flood: `python -m benchmarks.fairness`.

One client classifies the same short clip again and again: alone, then beside callers that send bulk requests of 32
recordings, texts, or label sets as fast as they are answered. Prints p50 and p99 of each, and p99 as a multiple of the
quiet one; the exit status is 1 if a multiple is above 3. The cache of audio is off, so every clip is computed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx2
import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import percentiles
from benchmarks.systems import anysound

EXAMPLE = Path(__file__).parents[1] / "examples" / "crow.flac"
MOST = 3.0
"""The largest p99 beside a flood that passes, as a multiple of the quiet p99."""
CALLERS = 2
"""Callers of each flood, each with one request at a time."""
WARM_UP_S = 2.0
QUERY = {"labels": ["crow", "dog", "piano"], "top_k": "1"}

Flood = Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]


def long_recording() -> bytes:
    """18 s of noise as FLAC."""
    noise = np.random.default_rng(0).integers(-64, 64, 48_000 * 18, np.int16)
    file = io.BytesIO()
    soundfile.write(file, noise, 48_000, format="FLAC")
    return file.getvalue()


LONG = long_recording()


async def bulk(client: httpx2.AsyncClient, number: int) -> httpx2.Response:  # noqa: ARG001
    """32 clips of 18 s: as much audio as a request may have."""
    files = [("audio", (f"{each}.flac", LONG, "audio/flac")) for each in range(32)]
    return await client.post(
        "/v1/classify", files=files, data={"labels": ["crow", "dog"]}, headers={"X-Priority": "bulk"}
    )


async def texts(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
    """A thousand prompts that no cache knows."""
    inputs = [f"the sound of thing {number} and {each}" for each in range(1_000)]
    return await client.post("/v1/embeddings", json={"modality": "text", "input": inputs})


async def label_sets(client: httpx2.AsyncClient, number: int) -> httpx2.Response:
    """A set of a thousand labels, replaced again and again."""
    labels = [f"thing {number} and {each}" for each in range(1_000)]
    return await client.put(f"/v1/label-sets/flood-{number % 4}", json={"labels": labels})


FLOODS: dict[str, Flood] = {"bulk": bulk, "texts": texts, "label sets": label_sets}


async def interactive(client: httpx2.AsyncClient, seconds: float) -> list[float]:
    """Milliseconds of each request of one caller."""
    clip = EXAMPLE.read_bytes()
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        answer = await client.post("/v1/classify", params=QUERY, content=clip, headers={"Content-Type": "audio/flac"})
        answer.raise_for_status()
        found.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.02)
    return found


async def beside(client: httpx2.AsyncClient, flood: Flood | None, seconds: float) -> tuple[list[float], dict[int, int]]:
    """The caller's milliseconds, and how often the flood got each status."""
    statuses: dict[int, int] = {}
    numbers = itertools.count()

    async def caller() -> None:
        assert flood is not None
        while True:
            answer = await flood(client, next(numbers))
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code >= 400:
                await asyncio.sleep(0.2)

    callers = [asyncio.create_task(caller()) for _ in range(CALLERS)] if flood else []
    try:
        await interactive(client, WARM_UP_S)
        return await interactive(client, seconds), statuses
    finally:
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


async def run(address: str, floods: Sequence[str], seconds: float, console: Console) -> bool:
    table = Table("beside", "requests", "p50 ms", "p99 ms", "p99 / quiet", "answers to the flood")
    async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
        quiet, _ = await beside(client, None, seconds)
        p50, p99 = percentiles(quiet, 50, 99)
        table.add_row("nobody", str(len(quiet)), f"{p50:.1f}", f"{p99:.1f}", "", "")
        good = True
        for name in floods:
            times, statuses = await beside(client, FLOODS[name], seconds)
            loaded_p50, loaded_p99 = percentiles(times, 50, 99)
            ratio = loaded_p99 / p99
            good &= ratio <= MOST
            answers = ", ".join(f"{count} times {status}" for status, count in sorted(statuses.items()))
            table.add_row(name, str(len(times)), f"{loaded_p50:.1f}", f"{loaded_p99:.1f}", f"{ratio:.2f}", answers)
            await asyncio.sleep(3)  # what the service had taken on
    console.print(table)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    parser.add_argument("--floods", nargs="*", choices=FLOODS, default=list(FLOODS))
    parser.add_argument("--serve", default="", help="more flags for `anysound serve`, in one string")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        anysound(None, Path(folder) / "log", *options.serve.split()) as service,
    ):
        address = f"http://{service.target.host}:{service.target.port}"
        return 0 if asyncio.run(run(address, options.floods, options.seconds, Console(width=120))) else 1


if __name__ == "__main__":
    sys.exit(main())
