"""Samples of a stream: bytes of PCM to windows at the model's rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.audio import MAX_AMPLITUDE
from model.audio.stream import Resampler
from model.windows import Samples, pad
from service.api.problems import invalid
from service.api.stream.opening import Encoding
from service.decoding.shape import Shape

DTYPES: dict[Encoding, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
SCALE = np.float32(1 / 32_768)


@dataclass(frozen=True)
class Window:
    """A window [samples], and the part of the stream that it holds, in samples at the model's rate."""

    samples: Samples
    start: int
    end: int


class WindowCutter:
    """Cuts a stream into the windows that `hop` samples apart begin, as a clip is cut. Holds one window of samples."""

    def __init__(self, encoding: Encoding, rate: int, shape: Shape, hop: int) -> None:
        self._dtype = DTYPES[encoding]
        self._shape = shape
        self._hop = hop
        self._resampler = Resampler(rate, shape.rate)
        self._rest = b""
        self._held = np.empty(0, np.float32)
        self._start = 0
        self._next = 0

    @property
    def received(self) -> int:
        """Samples received so far, at the model's rate."""
        return self._start + len(self._held)

    def samples(self, data: bytes) -> Samples:
        """The samples [n] at the model's rate that these bytes add, which may end within a sample. Raises Problem."""
        data = self._rest + data
        whole = len(data) - len(data) % self._dtype.itemsize
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], self._dtype).astype(np.float32)
        if self._dtype.kind == "i":
            samples *= SCALE
        elif len(samples) and not (samples.min() >= -MAX_AMPLITUDE and samples.max() <= MAX_AMPLITUDE):
            raise invalid(f"the stream has samples that are NaN, infinite or above {MAX_AMPLITUDE:g}")
        blocks = list(self._resampler.each([samples]))
        return np.concatenate(blocks) if blocks else samples[:0]

    def finish(self) -> Iterator[Window]:
        """The windows that are left at the end: the last is aligned to it, and a short stream is padded."""
        if self._rest:
            raise invalid(f"the stream ends within a sample: {len(self._rest)} bytes of {self._dtype.itemsize}")
        for block in self._resampler.end():
            yield from self.cut(block)
        end, window = self.received, self._shape.window
        if 0 < end <= window and self._next == 0:
            yield Window(pad(self._held, window, self._shape.padding), 0, end)
        elif end > window and self._next - self._hop + window < end:
            yield Window(self._held[-window:].copy(), end - window, end)

    def cut(self, block: Samples) -> Iterator[Window]:
        """The windows that are complete with these samples, made when they are asked for."""
        window = self._shape.window
        while len(block):
            # A message may hold many windows' samples: they are taken a hop at a time, so that little is held twice.
            self._held = np.concatenate([self._held, block[: self._hop]])
            block = block[self._hop :]
            while self._next + window <= self.received:
                at = self._next - self._start
                yield Window(self._held[at : at + window].copy(), self._next, self._next + window)
                self._next += self._hop
            surplus = min(self._next - self._start, len(self._held) - window)
            if surplus > 0:
                self._held = self._held[surplus:]
                self._start += surplus
