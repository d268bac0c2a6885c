"""One decoder as the API process sees it: the channel to it, and the memory shared with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from typing import Any

import numpy as np

from model.audio import AudioError, Limits
from model.native import Integers, ratio
from model.windows import Samples, window_starts
from service.decoding.child import MESSAGE_BYTES, READY
from service.decoding.fork_server import ForkServer
from service.decoding.shape import Decoded, Shape, most_samples, most_windows
from service.decoding.shared_memory import SharedMemory
from service.offload import off_loop

log = logging.getLogger("anysound.decoding")

BRIEF_BYTES = 1 << 20
"""Windows up to this size are copied and hashed on the event loop."""
START_S = 10.0


class DecoderDied(Exception):
    """The process ended, or must not be used any more."""


class Decoder:
    """A process that decodes one clip at a time. The constructor blocks; it raises OSError if no process can start."""

    def __init__(self, forks: ForkServer) -> None:
        # Packets: a message is read whole or not at all, whatever a compromised decoder sends.
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened: list[SharedMemory] = []
        try:
            with theirs:
                opened += [SharedMemory()]
                opened += [SharedMemory()]
                self._clip, self._windows = opened
                self.process, self._handle = forks.fork(theirs.fileno(), *(memory.descriptor for memory in opened))
        except BaseException:
            self._channel.close()
            for memory in opened:
                memory.close()
            raise
        try:
            self._channel.settimeout(START_S)
            if (message := self._channel.recv(MESSAGE_BYTES)) != READY:
                raise OSError(message.decode(errors="replace") or "the process ended at once")
        except OSError:
            self._release()
            raise
        self._channel.setblocking(False)
        self.spoiled = False
        """Whether it has to be replaced."""
        self.on_spoiled: Callable[[], None] = lambda: None
        self._answer: asyncio.Future[bytes] | None = None
        self._timeout: asyncio.Timeout | None = None
        self._wall_s = 0.0

    def listen(self) -> None:
        """Read from the channel on the running event loop, until `stop`."""
        asyncio.get_running_loop().add_reader(self._channel, self._heard)

    def _heard(self) -> None:
        try:
            message = self._channel.recv(MESSAGE_BYTES)
        except OSError:
            message = b""
        expected = self._answer is not None and not self._answer.done()
        if not message or not expected:
            # It has ended, or it sends unasked, which could be taken for the answer on the next clip.
            self.spoiled = True
            self._silence()
            self.on_spoiled()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _silence(self) -> None:
        asyncio.get_running_loop().remove_reader(self._channel)

    async def decode(
        self, data: bytes | bytearray, shape: Shape, limits: Limits, wall_s: float, cpu_s: int, digests: bool
    ) -> Decoded:
        """Raises AudioError for the clip's fault, DecoderDied for the process'."""
        self._wall_s = wall_s
        await off_loop(len(data) <= BRIEF_BYTES, self._put, data)
        self._windows.grow(most_windows(shape, limits) * shape.window * 4)
        # The answer has to repeat this number, so an answer that was sent before the question is not accepted.
        token = secrets.token_hex(8)
        asked = {
            "token": token,
            "shape": asdict(shape),
            "limits": asdict(limits),
            "cpu_s": cpu_s,
            "clip": len(data),
            "clip_size": self._clip.size,
            "windows_size": self._windows.size,
        }
        try:
            answer = await self._ask(json.dumps(asked).encode())
            if answer.get("token") != token:
                raise DecoderDied("the decoder gave an impossible answer")
            if "fault" in answer:
                log.error("a decoder failed: %.1000s", answer["fault"])
                raise DecoderDied("the decoder failed")
            if "error" in answer:
                raise AudioError(**{name: str(answer["error"][name]) for name in answer["error"]})
            samples = answer.get("samples")
            if "rate" in answer:
                clip = self._native(samples, answer["rate"], shape, limits)
                return await off_loop(clip.samples.nbytes <= BRIEF_BYTES, Decoded.of_integers, clip, shape, digests)
            if not isinstance(samples, int) or not 0 < samples <= most_samples(shape, limits):
                raise DecoderDied("the decoder gave an impossible answer")
            starts = window_starts(samples, shape.window, shape.hop)
            size = len(starts) * shape.window * 4
            windows, digest = await off_loop(size <= BRIEF_BYTES, self._take, size, digests)
        finally:
            self._clip.trim()
            self._windows.trim()
        return Decoded(
            windows.reshape(-1, shape.window),
            (starts / shape.rate).tolist(),
            shape.window / shape.rate,
            samples / shape.rate,
            digest,
        )

    def _native(self, samples: object, rate: object, shape: Shape, limits: Limits) -> Integers:
        """A copy of samples that are not resampled. Raises DecoderDied where the answer is impossible."""
        known = shape.native and isinstance(rate, int) and limits.min_rate <= rate <= limits.max_rate
        if not known or not isinstance(samples, int) or not isinstance(rate, int) or ratio(rate, shape.rate) is None:
            raise DecoderDied("the decoder gave an impossible answer")
        if not 0 < samples <= (limits.max_seconds + 1) * rate or 2 * samples > self._windows.size:
            raise DecoderDied("the decoder gave an impossible answer")
        return Integers(np.frombuffer(self._windows.map(2 * samples), np.int16).copy(), rate)

    async def _ask(self, message: bytes) -> dict[str, Any]:
        if self.spoiled:
            raise DecoderDied("the process ended")
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._channel.send(message)
            async with asyncio.timeout(self._wall_s) as self._timeout:
                answer = json.loads(await self._answer)
        except TimeoutError:
            raise DecoderDied("the clip took too long") from None
        except (OSError, ValueError) as error:
            raise DecoderDied("the process ended") from error
        finally:
            self._timeout = None
        if not isinstance(answer, dict):
            raise DecoderDied("the decoder gave an impossible answer")
        return answer

    def hurry(self, seconds: float) -> None:
        """Nobody waits for the clip any more: give the decoder at most `seconds` to finish it."""
        self._wall_s = min(self._wall_s, seconds)
        if self._timeout is not None:
            end = asyncio.get_running_loop().time() + seconds
            self._timeout.reschedule(min(self._timeout.when() or end, end))

    def _put(self, data: bytes | bytearray) -> None:
        self._clip.grow(max(len(data), 1))
        self._clip.map(len(data))[:] = data

    def _take(self, size: int, digests: bool) -> tuple[Samples, str]:
        """A copy of the windows, and the SHA-256 of the copy: a compromised decoder could change the shared memory
        afterwards, or give the digest of another clip."""
        windows = np.frombuffer(self._windows.map(size), np.float32).copy()
        return windows, sha256(windows.data).hexdigest() if digests else ""

    def stop(self) -> None:
        """Kill the process, on the event loop that listens to it. Does not block."""
        self._silence()
        self._release()

    def _release(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        os.close(self._handle)
        self._channel.close()
        self._clip.close()
        self._windows.close()
