"""A pool of sandboxed processes that turn bytes into windows.

A decoder that crashes, hangs or runs out of memory costs the clip it had: it is killed and another takes its place.
Each has limits on memory and processor time, and neither network, nor files to write, nor other processes. Clips and
windows lie in memory that both sides map; what is said about them are small messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import json
import mmap
import multiprocessing
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from model.audio import AudioError, Limits, load
from model.config import FrontEndConfig, Padding
from model.memory import keep_freed_memory
from model.windows import Samples, cut, window_starts
from service.cores import yield_to_others
from service.decoding.seccomp import confine
from service.offload import off_loop

MEMORY_BYTES = 3 << 30
SPARE_BYTES = 64 << 20
"""Of freed memory that a decoder keeps for its next clips."""
KEPT_BYTES = 4 << 20
"""Of shared memory that stays after a clip; what a longer one took goes back."""
BRIEF_BYTES = 1 << 20
"""Copied, and hashed, on the event loop."""
MESSAGE_BYTES = 64 << 10
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
    ["service.decoding.pool", *([_main.name] if _main and not _main.name.endswith("__main__") else [])]
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


Decode = Callable[[memoryview, Shape, Limits], Samples]
"""A clip's samples [n] at the shape's rate."""


class DecoderDied(Exception):
    """The process is gone, or was killed because it took too long."""


def _sandbox() -> None:
    """Give up what decoding does not need."""
    keep_freed_memory(SPARE_BYTES)
    yield_to_others()
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


def _decode(data: memoryview, shape: Shape, limits: Limits) -> Samples:
    return load(data, shape.rate, limits)


class Memory:
    """Bytes that two processes map. One side makes it and lets it grow; the other maps what it is told to."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("anysound-clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            # Who maps what the other side has cut off is killed.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.descriptor = descriptor
        self.size = 0
        self._map: mmap.mmap

    def grow(self, size: int) -> None:
        """Hold at least so many bytes. Pages take memory only once they are written."""
        if size > self.size:
            size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.descriptor, size)
            self.map(size)

    def map(self, size: int) -> memoryview:
        """Its first `size` bytes, as they are now."""
        if size > self.size:
            self._map, self.size = mmap.mmap(self.descriptor, size), size
        return memoryview(self._map)[:size]

    def shed(self) -> None:
        """Give the kernel back what lies above `KEPT_BYTES`."""
        if self.size > KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES, self.size - KEPT_BYTES)


def most_samples(shape: Shape, limits: Limits) -> int:
    """How many a clip within the limits has at most, and a second to spare for rounding."""
    return round(limits.max_seconds * shape.rate) + shape.rate


@cache
def most_windows(shape: Shape, limits: Limits) -> int:
    """How many windows a clip within the limits has at most."""
    return len(window_starts(most_samples(shape, limits), shape.window, shape.hop))


def _serve(channel: socket.socket, decode: Decode) -> None:
    """A decoder's life: a clip in shared memory, its windows in shared memory, a message before and one after."""
    _, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 2)
    clip, windows = map(Memory, descriptors)
    _sandbox()
    while message := channel.recv(MESSAGE_BYTES):
        asked = json.loads(message)
        _allow_cpu(asked["cpu_s"])
        answer: dict[str, Any]
        try:
            shape = Shape(**asked["shape"])
            with clip.map(asked["clip_size"])[: asked["clip"]] as data:
                samples = decode(data, shape, Limits(**asked["limits"]))
            cuts, _ = cut(samples, shape.window, shape.hop, shape.padding)
            if cuts.nbytes > asked["windows_size"]:
                raise MemoryError
            np.frombuffer(windows.map(asked["windows_size"]), np.float32, cuts.size)[:] = cuts.ravel()
            answer = {"samples": len(samples)}
        except AudioError as error:
            answer = {"error": {"reason": error.reason, "detail": error.detail, "code": error.code}}
        except MemoryError:
            answer = {"error": {"reason": "memory", "detail": "The clip needs more memory than a decoder has."}}
        channel.send(json.dumps(answer).encode())


class Decoder:
    """One process, the channel to it and the memory shared with it. It has one clip at a time."""

    def __init__(self, decode: Decode = _decode) -> None:
        # Packets: a message is read whole or not at all, whatever a decoder that was taken over sends.
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._clip, self._windows = Memory(), Memory()
        self.process = _context.Process(target=_serve, args=(theirs, decode), name="anysound-decoder", daemon=True)
        self.process.start()
        theirs.close()
        socket.send_fds(self._channel, [b"memory"], [self._clip.descriptor, self._windows.descriptor])
        self._channel.setblocking(False)
        self._answer: asyncio.Future[bytes] | None = None

    def listen(self) -> None:
        """Hear this decoder on the running event loop, until it is stopped."""
        asyncio.get_running_loop().add_reader(self._channel, self._heard)

    def silence(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)

    def _heard(self) -> None:
        try:
            message = self._channel.recv(MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            self.silence()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    async def decode(
        self, data: bytes, shape: Shape, limits: Limits, wall_s: float, cpu_s: int, digests: bool
    ) -> Decoded:
        """Raises AudioError for the clip's fault, DecoderDied for the process'."""
        await off_loop(len(data) <= BRIEF_BYTES, self._put, data)
        self._windows.grow(most_windows(shape, limits) * shape.window * 4)
        asked = {
            "shape": asdict(shape),
            "limits": asdict(limits),
            "cpu_s": cpu_s,
            "clip": len(data),
            "clip_size": self._clip.size,
            "windows_size": self._windows.size,
        }
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(json.dumps(asked).encode())
            async with asyncio.timeout(wall_s):
                answer = json.loads(await self._answer)
        except TimeoutError:
            raise DecoderDied("the clip took too long") from None
        except (OSError, ValueError) as error:
            raise DecoderDied("the process ended") from error
        if "error" in answer:
            raise AudioError(**answer["error"])
        samples = answer["samples"]
        if not isinstance(samples, int) or not 0 < samples <= most_samples(shape, limits):
            raise DecoderDied("it said what cannot be")
        starts = window_starts(samples, shape.window, shape.hop)
        size = len(starts) * shape.window * 4
        windows, digest = await off_loop(size <= BRIEF_BYTES, self._take, size, digests)
        return Decoded(
            windows.reshape(-1, shape.window),
            (starts / shape.rate).tolist(),
            shape.window / shape.rate,
            samples / shape.rate,
            digest,
        )

    def _put(self, data: bytes) -> None:
        self._clip.grow(max(len(data), 1))
        self._clip.map(len(data))[:] = data

    def _take(self, size: int, digests: bool) -> tuple[Samples, str]:
        """The windows, copied, and their SHA-256. A decoder that was taken over could change them afterwards, or name
        another clip's embeddings."""
        windows = np.frombuffer(self._windows.map(size), np.float32).copy()
        self._clip.shed()
        self._windows.shed()
        return windows, sha256(windows.data).hexdigest() if digests else ""

    def stop(self) -> None:
        if self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        self._channel.close()
        for memory in (self._clip, self._windows):
            os.close(memory.descriptor)


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
        self._all: set[Decoder] = set()
        self._tasks: set[asyncio.Task[Decoded]] = set()

    async def __aenter__(self) -> DecodePool:
        for _ in range(self.processes):
            self._free.put_nowait(await self._start())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for decoder in list(self._all):
            await self._stop(decoder)

    async def decode(self, data: bytes, shape: Shape) -> Decoded:
        """Raises AudioError, whatever happens to the process."""
        decoder = await self._free.get()
        # Goes on when the caller is cancelled, and gives the decoder back when it is done.
        task = asyncio.create_task(self._decode(decoder, data, shape))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _start(self) -> Decoder:
        decoder = await asyncio.to_thread(Decoder, self._function)
        decoder.listen()
        self._all.add(decoder)
        return decoder

    async def _stop(self, decoder: Decoder) -> None:
        decoder.silence()
        self._all.discard(decoder)
        await asyncio.to_thread(decoder.stop)

    async def _decode(self, decoder: Decoder, data: bytes, shape: Shape) -> Decoded:
        try:
            return await decoder.decode(data, shape, self.limits, self.wall_s, self.cpu_s, self.digests)
        except DecoderDied as died:
            await self._stop(decoder)
            decoder = await self._start()
            raise AudioError("decoder", f"The clip could not be decoded: {died}.") from died
        finally:
            self._free.put_nowait(decoder)
