"""A clip decoded for a model: resampled, or left at its own rate for the engine to resample."""

from __future__ import annotations

from model.audio import Limits, Samples, read, resample
from model.native import Integers, integers


def decode(data: bytes | memoryview, rate: int, limits: Limits, native_bytes: int) -> Samples | Integers:
    """A clip for a model at `rate` Hz: its samples [n] at that rate, or at its own rate if they are 16-bit integers of
    at most `native_bytes`.

    Raises AudioError.
    """
    clip = read(data, limits)
    if 2 * len(clip.samples) <= native_bytes and (whole := integers(clip.samples, clip.rate, rate)) is not None:
        return whole
    return resample(clip.samples, clip.rate, rate)
