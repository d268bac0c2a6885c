"""The WAV that nearly everybody sends, found in its bytes without a decoder: 16-bit integers or 32-bit floats."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_CHUNKS = 32
"""Looked at before the samples; a clip with more is somebody's joke, and a decoder's."""

DTYPES: dict[tuple[int, int], np.dtype[np.int16] | np.dtype[np.float32]] = {
    (1, 16): np.dtype(np.int16).newbyteorder("<"),
    (3, 32): np.dtype(np.float32).newbyteorder("<"),
}
"""By format tag and bits a sample."""


@dataclass(frozen=True)
class Pcm:
    """Where the samples lie: `frames` of `channels` values of `dtype`, from byte `start` on; `rate` in Hz."""

    start: int
    frames: int
    channels: int
    dtype: np.dtype[np.int16] | np.dtype[np.float32]
    rate: int

    def values(self, data: memoryview) -> npt.NDArray[np.int16 | np.float32]:
        """The samples [frames, channels], a view of the clip's bytes."""
        return np.ndarray((self.frames, self.channels), self.dtype, data, self.start)


def plain_pcm(data: memoryview) -> Pcm | None:
    """Where the samples of a WAV are whose chunks lie in the file as they say; None for a clip that wants a decoder.

    Nothing is taken on trust: samples that the header claims and the file lacks make it another clip.
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
