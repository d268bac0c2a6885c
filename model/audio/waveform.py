"""A clip once it is decoded: one channel of float32 samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Waveform:
    """Mono float32 `samples` [n] at `rate` Hz."""

    samples: Samples
    rate: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Waveform [n] at `rate` Hz -> [round(n x target / rate), at least 1] at `target` Hz (libsoxr, high quality)."""
    if rate == target or len(samples) == 0:
        return samples
    length = max(1, round(len(samples) * target / rate))
    out: Samples = soxr.resample(samples, rate, target, quality="HQ")
    if len(out) < length:
        out = np.pad(out, (0, length - len(out)), mode="edge") if len(out) else np.resize(samples, length)
    return out[:length]
