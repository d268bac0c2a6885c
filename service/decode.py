"""A pool of sandboxed processes that turn bytes into windows.

A decoder that crashes, hangs or runs out of memory costs the clip it had: it is killed and another takes its place.
Each has limits on memory and processor time, and neither network, nor files to write, nor other processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from model.audio import AudioError, Limits, load
from model.config import FrontEndConfig, Padding
from model.memory import keep_freed_memory
from model.windows import cut
from service.seccomp import confine

T = TypeVar("T")

MEMORY_BYTES = 3 << 30
SPARE_BYTES = 64 << 20
"""Of freed memory that a decoder keeps for its next clips."""
CPU_S = 20
WALL_S = 30.0
PR_SET_PDEATHSIG = 1
CLONE_NEWNET = 0x40000000
CLONE_NEWUSER = 0x10000000

_context = multiprocessing.get_context("forkserver")
# A decoder that replaces a dead one is forked from a process that has these already. The main module is among them
# because multiprocessing runs it in each child: without, a new decoder would import a web server first.
_main = sys.modules["__main__"].__spec__
_context.set_forkserver_preload(
    ["service.decode", *([_main.name] if _main and not _main.name.endswith("__main__") else [])]
)


@dataclass(frozen=True)
class Shape:
    """How the model wants its windows: sample rate in Hz, lengths in samples."""

    rate: int
    window: int
    hop: int
    padding: Padding

    @classmethod
    def of(cls, front_end: FrontEndConfig) -> Shape:
        return cls(front_end.sample_rate, front_end.window_samples, front_end.window_hop_samples, front_end.padding)


@dataclass(frozen=True)
class Decoded:
    """Windows float32 [k, samples] of a clip, where they begin [k] and how long they and the clip are, in seconds."""

    windows: npt.NDArray[np.float32]
    starts_s: list[float]
    window_s: float
    duration_s: float
    digest: str = ""
    """SHA-256 of the windows, where the pool was told to take it."""


Decode = Callable[[bytes, Shape, Limits], Decoded]


class DecoderDied(Exception):
    """The process is gone, or was killed because it took too long."""


def _sandbox() -> None:
    """Give up what decoding does not need."""
    keep_freed_memory(SPARE_BYTES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(CLONE_NEWNET) != 0:
        libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
    confine()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _allow_cpu(seconds: int) -> None:
    """Let this process run for so many more seconds of processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _decode(data: bytes, shape: Shape, limits: Limits) -> Decoded:
    samples = load(data, shape.rate, limits)
    windows, starts = cut(samples, shape.window, shape.hop, shape.padding)
    return Decoded(windows, (starts / shape.rate).tolist(), shape.window / shape.rate, len(samples) / shape.rate)


def _serve(connection: Connection, decode: Decode) -> None:
    """A decoder's life: a header and the clip in; a header and the windows out."""
    _sandbox()
    while True:
        try:
            header = json.loads(connection.recv_bytes())
            data = connection.recv_bytes()
        except (EOFError, OSError):
            return
        _allow_cpu(header["cpu_s"])
        try:
            decoded = decode(data, Shape(**header["shape"]), Limits(**header["limits"]))
        except AudioError as error:
            answer: dict[str, object] = {"error": {"reason": error.reason, "detail": error.detail, "code": error.code}}
            connection.send_bytes(json.dumps(answer).encode())
        except MemoryError:
            answer = {"error": {"reason": "memory", "detail": "The clip needs more memory than a decoder has."}}
            connection.send_bytes(json.dumps(answer).encode())
        else:
            answer = {"starts_s": decoded.starts_s, "duration_s": decoded.duration_s}
            connection.send_bytes(json.dumps(answer).encode())
            connection.send_bytes(np.ascontiguousarray(decoded.windows).data.cast("B"))


class Decoder:
    """One process and the pipe to it. Used by one thread at a time."""

    def __init__(self, decode: Decode = _decode) -> None:
        ours, theirs = _context.Pipe()
        self.connection: Connection = ours
        self.process = _context.Process(target=_serve, args=(theirs, decode), name="anysound-decoder", daemon=True)
        self.process.start()
        theirs.close()

    def decode(self, data: bytes, shape: Shape, limits: Limits, wall_s: float, cpu_s: int) -> Decoded:
        """Raises AudioError for the clip's fault, DecoderDied for the process'."""
        end = time.monotonic() + wall_s
        try:
            header = {"shape": asdict(shape), "limits": asdict(limits), "cpu_s": cpu_s}
            self.connection.send_bytes(json.dumps(header).encode())
            self.connection.send_bytes(data)
            answer = json.loads(self._receive(end))
            if "error" in answer:
                raise AudioError(**answer["error"])
            buffer = self._receive(end)
        except (EOFError, OSError) as error:
            raise DecoderDied("the process ended") from error
        windows = np.frombuffer(buffer, np.float32).reshape(-1, shape.window)
        return Decoded(windows, answer["starts_s"], shape.window / shape.rate, answer["duration_s"])

    def _receive(self, end: float) -> bytes:
        if not self.connection.poll(max(0.0, end - time.monotonic())):
            raise DecoderDied("the clip took too long")
        return self.connection.recv_bytes()

    def stop(self) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self.connection.close()


class DecodePool:
    """`async with DecodePool(processes) as pool`: decodes that many clips at once.

    `wall_s` and `cpu_s` bound one clip; `decode` is what a process does with it.
    """

    def __init__(
        self,
        processes: int,
        limits: Limits,
        wall_s: float = WALL_S,
        cpu_s: int = CPU_S,
        digests: bool = False,
        decode: Decode = _decode,
    ) -> None:
        self.digests = digests
        self.cpu_s = cpu_s
        self._function = decode
        self.processes = processes
        self.limits = limits
        self.wall_s = wall_s
        self._free: asyncio.Queue[Decoder] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(processes, "decode")
        self._all: set[Decoder] = set()

    async def __aenter__(self) -> DecodePool:
        self._loop = asyncio.get_running_loop()
        for _ in range(self.processes):
            self._free.put_nowait(await self._run(self._start))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for decoder in self._all:
            decoder.stop()
        self._all.clear()
        self._threads.shutdown(wait=False)

    async def decode(self, data: bytes, shape: Shape) -> Decoded:
        """Raises AudioError, whatever happens to the process."""
        decoder = await self._free.get()
        # The thread goes on when the caller is cancelled, and gives the decoder back when it is done.
        return await asyncio.shield(self._run(self._decode, decoder, data, shape))

    def _run(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _start(self) -> Decoder:
        decoder = Decoder(self._function)
        self._all.add(decoder)
        return decoder

    def _decode(self, decoder: Decoder, data: bytes, shape: Shape) -> Decoded:
        try:
            decoded = decoder.decode(data, shape, self.limits, self.wall_s, self.cpu_s)
            # Taken here and not in the sandbox: a decoder that was taken over could name another clip's embeddings.
            return replace(decoded, digest=sha256(decoded.windows.data).hexdigest()) if self.digests else decoded
        except DecoderDied as died:
            decoder.stop()
            self._all.discard(decoder)
            decoder = self._start()
            raise AudioError("decoder", f"The clip could not be decoded: {died}.") from died
        finally:
            self._loop.call_soon_threadsafe(self._free.put_nowait, decoder)
