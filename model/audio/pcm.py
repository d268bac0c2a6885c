"""PCM that arrives in pieces: bytes to mono samples at another rate, without seams between the pieces."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from model.audio.downmix import check_amplitude
from model.audio.errors import AudioError
from model.audio.stream import Resampler
from model.audio.waveform import Samples

Encoding = Literal["s16le", "f32le"]
"""16-bit integers or floats with full scale 1, little-endian."""
LOWEST_RATE, HIGHEST_RATE = 4_000, 192_000

DTYPES: dict[Encoding, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
SCALE = np.float32(1 / 32_768)


class Pcm:
    """Mono PCM at `rate` Hz, resampled to `target` Hz. Together the pieces give the samples of `resample`."""

    def __init__(self, encoding: Encoding, rate: int, target: int) -> None:
        self._dtype = DTYPES[encoding]
        self._resampler = Resampler(rate, target)
        self._rest = b""

    def samples(self, data: bytes) -> Samples:
        """The samples [n] that these bytes add. They may end within a sample. Raises AudioError."""
        data = self._rest + data
        whole = len(data) - len(data) % self._dtype.itemsize
        self._rest = data[whole:]
        samples: Samples = np.frombuffer(data[:whole], self._dtype).astype(np.float32)
        if self._dtype.kind == "i":
            samples *= SCALE
        check_amplitude(samples)
        blocks = list(self._resampler.each([samples]))
        return np.concatenate(blocks) if blocks else samples[:0]

    def end(self) -> Samples:
        """The samples [n] that the resampler still holds. Raises AudioError."""
        if self._rest:
            detail = f"The audio ends within a sample: {len(self._rest)} of {self._dtype.itemsize} bytes."
            raise AudioError("half_sample", detail)
        blocks = list(self._resampler.end())
        return np.concatenate(blocks) if blocks else np.empty(0, np.float32)
