"""How long one prompt and one window wait for a worker beside floods of other work. `python -m benchmarks.queueing`.

The worker runs the bundled checkpoint; this process is its only client. "Queued" is the time from the arrival at the
worker to the start of the batch, "answered" the time from the call to its result.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from service.ipc.client import WorkerClient
from service.ipc.embedding import Embedded, EmbeddingError, Overloaded, Priority
from service.supervise.processes import module

FLOOD_CALLERS = 8
DEADLINE_S = 30.0
PAUSE_S = 0.1

Ask = Callable[[], Awaitable[Embedded]]


@contextlib.asynccontextmanager
async def worker() -> AsyncIterator[WorkerClient]:
    ours, its = socket.socketpair()
    with tempfile.TemporaryDirectory() as folder, ours:
        endpoint = f"ipc://{Path(folder)}/worker"
        command = module("service.worker", "--endpoint", endpoint, "--lifeline", str(its.fileno()))
        process = await asyncio.create_subprocess_exec(*command, pass_fds=(its.fileno(),))
        its.close()
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_recv(ours, 1)
        async with WorkerClient([endpoint]) as client:
            while not client.ready:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
            yield client
        ours.close()
        await process.wait()


async def flood(ask: Ask) -> None:
    """Send one request after another."""
    while True:
        try:
            await ask()
        except Overloaded as refused:
            await asyncio.sleep(min(1.0, refused.retry_after_s))
        except EmbeddingError:
            await asyncio.sleep(0)


async def probes(ask: Ask, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds in the queue, and until the answer, of requests sent one by one."""
    queued, answered = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        embedded = await ask()
        answered.append(1e3 * (time.perf_counter() - began))
        queued.append(1e3 * embedded.queue_s)
        await asyncio.sleep(PAUSE_S)
    return queued, answered


async def measure(seconds: float) -> Table:
    columns = ("of", "n", "queued p50", "p99", "largest", "answered p50", "p99")
    table = Table(f"beside {FLOOD_CALLERS} callers with", *columns, title="ms")
    async with worker() as client:
        samples = client.info.config.front_end.window_samples
        noise = np.random.default_rng(0).normal(0, 0.1, (12, samples)).astype(np.float32)
        numbers = iter(range(1_000_000_000))

        def text(count: int, priority: Priority) -> Ask:
            return lambda: client.embed_text(
                [f"this is a sound of thing {next(numbers)} of many" for _ in range(count)],
                deadline=time.monotonic() + DEADLINE_S,
                priority=priority,
            )

        def audio(count: int, priority: Priority) -> Ask:
            return lambda: client.embed_audio(noise[:count], deadline=time.monotonic() + DEADLINE_S, priority=priority)

        floods: dict[str, list[Ask]] = {
            "nothing": [],
            "1,000 prompts, bulk": [text(1_000, Priority.BULK)],
            "1,000 prompts, interactive": [text(1_000, Priority.INTERACTIVE)],
            "1 minute of audio, bulk": [audio(12, Priority.BULK)],
            "1 minute of audio, interactive": [audio(12, Priority.INTERACTIVE)],
        }
        probed = {"a prompt": text(1, Priority.INTERACTIVE), "a window": audio(1, Priority.INTERACTIVE)}
        for beside, asks in floods.items():
            tasks = [asyncio.create_task(flood(ask)) for ask in asks for _ in range(FLOOD_CALLERS)]
            await asyncio.sleep(2)
            for what, ask in probed.items():
                queued, answered = await probes(ask, seconds)
                figures = [*np.percentile(queued, (50, 99)), max(queued), *np.percentile(answered, (50, 99))]
                table.add_row(beside, what, str(len(queued)), *(f"{figure:.0f}" for figure in figures))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Wait of a prompt and of a window beside floods of other work.")
    parser.add_argument("--seconds", type=float, default=20, help="per row (default: 20)")
    options = parser.parse_args()
    Console(width=120).print(asyncio.run(measure(options.seconds)))


if __name__ == "__main__":
    main()
