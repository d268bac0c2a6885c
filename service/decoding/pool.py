"""A pool of sandboxed processes that turn recordings into windows.

A decoder that crashes, hangs or runs out of memory costs the clip it had: it is killed and replaced. Each is confined
(`service.decoding.sandbox`) and bounded in memory and CPU time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import weakref
from collections.abc import Hashable
from types import TracebackType

from model import plain
from model.audio import AudioError, Limits
from model.native import Recording
from service.decoding import child, sandbox
from service.decoding.decoder import BRIEF_BYTES, Decoder, DecoderDied
from service.decoding.fork_server import ForkServer
from service.decoding.queue import Clip, ClipQueue, QueueFull
from service.decoding.shape import Decode, Decoded, Shape
from service.offload import off_loop

log = logging.getLogger("anysound.decoding")

CPU_S = 20
WALL_S = 30.0
ABANDONED_S = 0.1
"""Time left for a clip that nobody waits for any more: most end within it, and a new decoder costs as much."""
CLIPS_EACH = 1_000
"""A decoder is replaced after this many clips, so that a compromised one does not stay for ever."""
WAITING_CLIPS = 4_096
WINDOWS_BYTES = 256 << 20
"""Limit on decoded windows that the pool's callers hold. Each decoder may exceed it by one clip."""
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0
EMPTY_S = 10.0
"""Without any decoder for this long, the process counts as dead."""
SOON_S = 1.0
"""Without any decoder for this long, clips are refused instead of waiting for one."""


class DecodersBusy(Exception):
    """The clip was not decoded; a retry after `retry_after_s` may succeed."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class DecodePool:
    """`async with DecodePool(processes, limits) as pool`: decodes `processes` clips at once.

    `wall_s` and `cpu_s` bound one clip. `decode` is what a decoder does with a clip, a function that can be imported.
    `digests` asks for the SHA-256 of each clip's windows. Clips wait while the callers hold `windows_bytes` of windows.
    """

    def __init__(
        self,
        processes: int,
        limits: Limits,
        wall_s: float = WALL_S,
        cpu_s: int = CPU_S,
        digests: bool = False,
        decode: Decode = child.decode,
        mode: sandbox.Mode = "required",
        windows_bytes: int = WINDOWS_BYTES,
    ) -> None:
        self.processes = processes
        self.limits = limits
        self.wall_s = wall_s
        self.cpu_s = cpu_s
        self.digests = digests
        self._windows_bytes = windows_bytes
        self._held_bytes = 0
        self._forks = ForkServer(decode, mode)
        self._queue = ClipQueue(processes, WAITING_CLIPS)
        self._decoders: set[Decoder] = set()
        self._starting: set[asyncio.Future[Decoder]] = set()
        self._running: dict[Clip, Decoder] = {}
        self._idle: list[asyncio.Future[Clip | None]] = []
        self._slots: list[asyncio.Task[None]] = []
        self._empty_since = -math.inf
        self._clip_s = 0.1

    async def __aenter__(self) -> DecodePool:
        """Raises OSError where no decoder can be started."""
        try:
            decoders = [await self._start() for _ in range(self.processes)]
        except BaseException:
            await self._close()
            raise
        self._slots = [asyncio.create_task(self._serve(decoder)) for decoder in decoders]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)
        await self._close()

    async def _close(self) -> None:
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.to_thread(self._forks.close)
        for decoder in list(self._decoders):
            self._stop(decoder)

    @property
    def ready(self) -> bool:
        """Whether a clip would find a decoder, at once or within a second."""
        return self._empty_s() < SOON_S

    @property
    def alive(self) -> bool:
        """False where there has been no decoder for so long that the process should be restarted."""
        return self._empty_s() < EMPTY_S

    def _empty_s(self) -> float:
        return 0.0 if self._decoders else asyncio.get_running_loop().time() - self._empty_since

    async def decode(
        self,
        data: bytes | bytearray,
        shape: Shape,
        *,
        request: Hashable = None,
        bulk: bool = False,
        until: float = math.inf,
    ) -> Decoded:
        """A clip's windows. Raises AudioError, whatever happens to the process, DecodersBusy, and TimeoutError.

        `until` is when nobody waits for it any more, in `time.monotonic()` seconds. Clips of one `request` take turns
        with those of others. `bulk` clips go after the rest, and leave it a decoder.
        """
        if shape.native and (read := plain.read(data, shape.rate, self.limits)) is not None:
            brief = not self.digests or len(data) <= BRIEF_BYTES
            return await off_loop(brief, Decoded.of_integers, read, shape, self.digests)
        if not self.ready:
            raise DecodersBusy("there is no decoder at present", LAST_BACKOFF_S)
        clip = Clip(data, shape, object() if request is None else request, bulk)
        try:
            self._queue.put(clip)
        except QueueFull:
            raise DecodersBusy(
                "too many clips wait for a decoder", self._clip_s * len(self._queue) / self.processes
            ) from None
        self._hand_out()
        try:
            async with asyncio.timeout(None if until == math.inf else until - time.monotonic()):
                return await clip.answer
        except (asyncio.CancelledError, TimeoutError):
            if not self._queue.remove(clip) and clip in self._running:
                self._running[clip].hurry(ABANDONED_S)
            raise

    def _hand_out(self) -> None:
        """Give waiting clips to idle decoders, unless the windows of earlier clips fill the memory they may have."""
        self._idle = [slot for slot in self._idle if not slot.done()]
        while self._idle and self._held_bytes < self._windows_bytes and (clip := self._queue.take()) is not None:
            self._idle.pop().set_result(clip)

    async def _serve(self, decoder: Decoder) -> None:
        """One decoder after the other, each for `CLIPS_EACH` clips or until it dies."""
        while True:
            for _ in range(CLIPS_EACH):
                if not await self._serve_one(decoder):
                    break
            self._stop(decoder)
            decoder = await self._replacement()

    async def _serve_one(self, decoder: Decoder) -> bool:
        """Decode the next clip. False where the decoder has to be replaced. No variable keeps the windows alive."""
        clip = await self._next(decoder)
        return clip is not None and await self._decode(decoder, clip)

    async def _next(self, decoder: Decoder) -> Clip | None:
        """The next clip for an idle decoder; None where it ends before there is one."""
        idle: asyncio.Future[Clip | None] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not idle.done():
                idle.set_result(None)

        decoder.on_spoiled = end
        if decoder.spoiled:
            return None
        self._idle.append(idle)
        self._hand_out()
        try:
            return await idle
        finally:
            decoder.on_spoiled = lambda: None

    async def _decode(self, decoder: Decoder, clip: Clip) -> bool:
        """Decode a clip and answer its caller. False where the decoder has to be replaced."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._running[clip] = decoder
        try:
            decoded = await decoder.decode(clip.data, clip.shape, self.limits, self.wall_s, self.cpu_s, self.digests)
        except AudioError as error:
            fail(clip, error)
        except DecoderDied as died:
            fail(clip, AudioError("decoder", f"The clip could not be decoded: {died}."))
            return False
        except asyncio.CancelledError:
            clip.answer.cancel()
            raise
        except Exception as error:
            log.exception("a clip was not decoded")
            fail(clip, AudioError("decoder", f"The clip could not be decoded: {type(error).__name__}."))
            return False
        else:
            if not clip.answer.done():
                self._hold(decoded)
                clip.answer.set_result(decoded)
        finally:
            self._clip_s += 0.1 * (loop.time() - began - self._clip_s)
            del self._running[clip]
            self._queue.done(clip)
        return True

    def _hold(self, decoded: Decoded) -> None:
        """Count the windows until nobody refers to them any more, in whichever thread that happens."""
        windows = decoded.windows.samples if isinstance(decoded.windows, Recording) else decoded.windows
        loop, count = asyncio.get_running_loop(), windows.nbytes

        def release() -> None:
            self._held_bytes -= count
            self._hand_out()

        def let_go() -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed already
                loop.call_soon_threadsafe(release)

        self._held_bytes += count
        weakref.finalize(windows if windows.base is None else windows.base, let_go)

    async def _replacement(self) -> Decoder:
        """A new decoder, retried until there is one: processes and descriptors may be exhausted for a while."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self._start()
            except OSError as error:
                log.error("no decoder can be started, trying again in %.1f s: %s", backoff_s, error)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    async def _start(self) -> Decoder:
        starting = asyncio.ensure_future(asyncio.to_thread(self._fork))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        decoder = await asyncio.shield(starting)
        decoder.listen()
        return decoder

    def _fork(self) -> Decoder:
        decoder = Decoder(self._forks)
        self._decoders.add(decoder)
        return decoder

    def _stop(self, decoder: Decoder) -> None:
        self._decoders.discard(decoder)
        decoder.stop()
        self._empty_since = asyncio.get_running_loop().time()


def fail(clip: Clip, error: AudioError) -> None:
    """Pass an error to a caller, who may be gone."""
    if not clip.answer.done():
        clip.answer.set_exception(error)
