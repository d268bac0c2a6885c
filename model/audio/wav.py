"""The most common WAV, 16-bit integers or 32-bit floats, read from its bytes without a decoder."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.audio.downmix import Downmix, check_amplitude
from model.audio.limits import Budget
from model.audio.waveform import Samples, Waveform

MAX_CHUNKS = 32
"""Chunks looked at before the samples. A clip with more is left to a decoder."""

BLOCK_FRAMES = 1 << 14
"""Frames converted at a time: such a block stays in the processor's cache."""

DTYPES: dict[tuple[int, int], np.dtype[np.int16] | np.dtype[np.float32]] = {
    (1, 16): np.dtype(np.int16).newbyteorder("<"),
    (3, 32): np.dtype(np.float32).newbyteorder("<"),
}
"""NumPy types by format tag and bits per sample."""


@dataclass(frozen=True)
class Pcm:
    """Position and form of samples: `frames` of `channels` values of `dtype`, from byte `start` on; `rate` in Hz."""

    start: int
    frames: int
    channels: int
    dtype: np.dtype[np.int16] | np.dtype[np.float32]
    rate: int

    def values(self, data: memoryview) -> npt.NDArray[np.int16 | np.float32]:
        """The samples [frames, channels], a view of the clip's bytes."""
        return np.ndarray((self.frames, self.channels), self.dtype, data, self.start)


def read(data: memoryview, budget: Budget, downmix: Downmix) -> Waveform | None:
    """A plain WAV's samples, equal to libsndfile's at a tenth of the time; None for any other clip.

    Raises AudioError.
    """
    pcm = plain_pcm(data)
    if pcm is None:
        return None
    budget.check_format(pcm.rate, pcm.channels)
    budget.spend(pcm.frames, pcm.rate, pcm.channels)
    samples = np.empty(pcm.frames, np.float32)
    _convert(pcm.values(data), samples, downmix)
    if pcm.dtype.kind == "f":
        check_amplitude(samples)
    return Waveform(samples, pcm.rate)


def blocks(data: memoryview, budget: Budget, downmix: Downmix) -> tuple[int, Iterator[Samples]] | None:
    """The rate of a plain WAV in Hz and its samples in blocks; None for any other clip. Raises AudioError."""
    pcm = plain_pcm(data)
    if pcm is None:
        return None
    budget.check_format(pcm.rate, pcm.channels)
    budget.spend(pcm.frames, pcm.rate, pcm.channels)
    return pcm.rate, _blocks(pcm.values(data), downmix)


def plain_pcm(data: memoryview) -> Pcm | None:
    """The samples' position in a plain WAV; None for a clip that needs a decoder.

    Sizes are checked against the file: samples that the header claims and the file lacks make it a decoder's clip.
    """
    if bytes(data[:4]) != b"RIFF" or bytes(data[8:12]) != b"WAVE":
        return None
    layout, at = None, 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return None
        name, size = struct.unpack_from("<4sI", data, at)
        start, at = at + 8, at + 8 + size + size % 2
        if name == b"fmt ":
            if layout or size < 16 or at > len(data):
                return None
            layout = struct.unpack_from("<HHIIHH", data, start)
        elif name == b"data":
            if layout is None or not 0 < size <= len(data) - start:
                return None
            tag, channels, rate, _, width, bits = layout
            dtype = DTYPES.get((tag, bits))
            if dtype is None or not rate or not channels or width != channels * bits // 8 or size < width:
                return None
            return Pcm(start, size // width, channels, dtype, rate)
    return None


def _convert(values: npt.NDArray[np.int16 | np.float32], samples: Samples, downmix: Downmix) -> None:
    """Values [frames, channels] -> mono `samples` [frames]; integers are scaled to [-1, 1)."""
    start = 0
    for block in _blocks(values, downmix):
        samples[start : start + len(block)] = block
        start += len(block)


def _blocks(values: npt.NDArray[np.int16 | np.float32], downmix: Downmix) -> Iterator[Samples]:
    scale = np.float32(1 / 32768 if values.dtype.kind == "i" else 1)
    for start in range(0, len(values), BLOCK_FRAMES):
        with np.errstate(invalid="ignore"):
            yield downmix.mono(np.multiply(values[start : start + BLOCK_FRAMES].T, scale, dtype=np.float32))
