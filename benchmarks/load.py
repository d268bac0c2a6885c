"""The load generator. It is a separate process, so that it shares no interpreter with the measured system.

`python -m benchmarks.load` reads a plan as JSON from standard input, runs it and writes the result of each request,
and the CPU time that generating the load took.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import uvloop

Body = Literal["raw", "litserve", "infinity"]

REFUSED = (429, 503)
BACK_OFF_S = 0.05
"""Seconds that a closed-loop client waits after a refusal: much less than Retry-After, to keep the load high."""
TIMEOUT_S = 60.0
CONNECTIONS = 4_000


@dataclass(frozen=True)
class Target:
    """The address of requests, and the encoding of their clips."""

    host: str
    port: int
    path: str
    body: Body = "raw"
    content_type: str = "audio/wav"


@dataclass(frozen=True)
class Plan:
    """A closed loop of `clients` with one request each at a time, or an open loop of `rate` requests per second.

    Requests of the first `warm_up_s` are not counted. `clips` are files of 16-bit WAV, or compressed ones for bodies
    of the kind `raw`.
    """

    target: Target
    clips: list[str]
    seconds: float
    warm_up_s: float = 1.0
    clients: int | None = None
    rate: float | None = None
    seed: int = 0


@dataclass
class Sample:
    """One request: when it was due and done, in seconds from the start, and its status; 0 without an answer."""

    due: float
    done: float
    status: int


class Clips:
    """Request bodies. Those of WAV are all different, so that no cache of embeddings answers in place of the model: the
    last samples of each recording are overwritten by an inaudible counter. Compressed ones repeat.
    """

    def __init__(self, files: list[str], body: Body) -> None:
        self._body = body
        self._numbers = itertools.count(int(time.time()) & 0xFFFFF)
        self._compressed = not files[0].endswith(".wav")
        self._recordings = [Path(file).read_bytes() for file in files]
        if self._compressed:
            return
        # Base64 encodes such a length without padding, so the position of the counter is known.
        if any(len(data) % 6 for data in self._recordings):
            raise ValueError("a recording's length in bytes is not a multiple of 6")
        if body != "raw":
            self._encoded = [base64.b64encode(data) for data in self._recordings]

    def __iter__(self) -> Iterator[list[bytes]]:
        """Bodies, each as a list of parts to send in order."""
        if self._compressed:
            yield from ([recording] for recording in itertools.cycle(self._recordings))
        for number in self._numbers:
            tail = b"\0\0" + (number & 0xFFFFFFFF).to_bytes(4, "little")
            if self._body == "raw":
                yield [self._recordings[number % len(self._recordings)][:-6], tail]
                continue
            data = self._encoded[number % len(self._encoded)][:-8]
            tail = base64.b64encode(tail)
            if self._body == "litserve":
                yield [b'{"audio": "', data, tail, b'"}']
            else:
                head = b'{"model": "clap", "modality": "audio", "encoding_format": "base64", "input": ['
                yield [head, b'"data:audio/wav;base64,', data, tail, b'"]}']


class Connection:
    """A kept-alive HTTP/1.1 connection that is opened when needed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, body: list[bytes]) -> int:
        """Send a request. Returns the status of its answer, 0 if the connection broke or after 60 s."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._exchange(body)
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return 0

    async def _exchange(self, body: list[bytes]) -> int:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.target.host, self.target.port)
        target = self.target
        head = (
            f"POST {target.path} HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: {target.content_type}\r\n"
            f"Content-Length: {sum(map(len, body))}\r\n\r\n"
        )
        self._writer.writelines([head.encode(), *body])
        await self._writer.drain()
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(answer.split(b" ", 2)[1])
        if b"\r\ntransfer-encoding: chunked" in answer:
            while size := int((await self._reader.readline()).strip(), 16):
                await self._reader.readexactly(size + 2)
            await self._reader.readline()
        else:
            length = int(answer.split(b"\r\ncontent-length:")[1].split(b"\r\n", 1)[0])
            await self._reader.readexactly(length)
        if b"\r\nconnection: close" in answer:
            self.close()
        return status

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def closed_loop(plan: Plan, samples: list[Sample]) -> None:
    """Each client sends its next request as soon as the last is answered."""
    assert plan.clients is not None
    bodies = iter(Clips(plan.clips, plan.target.body))
    start = time.perf_counter()
    end = start + plan.warm_up_s + plan.seconds

    async def client() -> None:
        connection = Connection(plan.target)
        while (due := time.perf_counter()) < end:
            status = await connection.ask(next(bodies))
            samples.append(Sample(due - start, time.perf_counter() - start, status))
            if status in REFUSED or status == 0:
                await asyncio.sleep(BACK_OFF_S)
        connection.close()

    await asyncio.gather(*(client() for _ in range(plan.clients)))


async def open_loop(plan: Plan, samples: list[Sample]) -> None:
    """Requests arrive as a Poisson process, whether or not earlier ones are answered; latency counts from the arrival.

    A stall therefore counts for every request that had to wait, which avoids coordinated omission.
    """
    assert plan.rate is not None
    bodies = iter(Clips(plan.clips, plan.target.body))
    chance = random.Random(plan.seed)
    free: list[Connection] = []
    opened = 0
    tasks: set[asyncio.Task[None]] = set()
    start = time.perf_counter()
    due = 0.0

    async def request(due: float) -> None:
        nonlocal opened
        if not free and opened >= CONNECTIONS:
            samples.append(Sample(due, time.perf_counter() - start, 0))
            return
        opened += not free
        connection = free.pop() if free else Connection(plan.target)
        status = await connection.ask(next(bodies))
        samples.append(Sample(due, time.perf_counter() - start, status))
        free.append(connection)

    while due < plan.warm_up_s + plan.seconds:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        task = asyncio.create_task(request(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due += chance.expovariate(plan.rate)
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()


async def carry_out(plan: Plan) -> list[Sample]:
    samples: list[Sample] = []
    await (open_loop if plan.clients is None else closed_loop)(plan, samples)
    return samples


def main() -> None:
    document = json.load(sys.stdin)
    plan = Plan(**{**document, "target": Target(**document["target"])})
    used = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(carry_out(plan))
    used = time.process_time() - used
    json.dump({"cpu_s": used, "samples": [asdict(sample) for sample in samples]}, sys.stdout)


if __name__ == "__main__":
    main()
