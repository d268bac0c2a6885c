"""The form of audio that the model takes, and a clip decoded to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from model.audio import Limits
from model.config import FrontEndConfig, Padding
from model.native import Integers, Recording, ratio
from model.windows import Samples, window_starts

NATIVE_WINDOW_BYTES = 8 << 20
"""A longer window might not fit into a message at the recording's rate."""


@dataclass(frozen=True)
class Shape:
    """The sample rate in Hz that the model takes, and the lengths of its window and hop in samples.

    With `native`, clips of 16-bit integers in one channel are not resampled: the worker does that.
    """

    rate: int
    window: int
    hop: int
    padding: Padding
    native: bool = False

    @classmethod
    def of(cls, front_end: FrontEndConfig, *, native: bool = False) -> Shape:
        """The shape that a model takes; with `native`, clips may be left for the worker to resample."""
        return cls(
            front_end.sample_rate,
            front_end.window_samples,
            front_end.window_hop_samples,
            front_end.padding,
            native and 4 * front_end.window_samples <= NATIVE_WINDOW_BYTES,
        )


@dataclass(frozen=True)
class Decoded:
    """A clip's windows, float32 [k, samples] or not resampled yet, and their starts [k]; the window's length and the
    clip's, in seconds."""

    windows: npt.NDArray[np.float32] | Recording
    starts_s: list[float]
    window_s: float
    duration_s: float
    digest: str = ""
    """SHA-256 of what the windows are made of; empty unless the pool computes digests."""

    @classmethod
    def of_integers(cls, clip: Integers, shape: Shape, digest: bool) -> Decoded:
        """The windows of a clip that is not resampled. They share its memory."""
        found = ratio(clip.rate, shape.rate)
        if found is None:
            raise ValueError(f"workers do not resample {clip.rate} Hz")
        length = found.samples(len(clip.samples))
        starts = window_starts(length, shape.window, shape.hop)
        hashed = ""
        if digest:
            content = sha256(f"int16 {clip.rate} {shape}".encode())
            content.update(clip.samples.data)
            hashed = content.hexdigest()
        return cls(
            Recording(clip.samples, clip.rate, starts, length),
            (starts / shape.rate).tolist(),
            shape.window / shape.rate,
            length / shape.rate,
            hashed,
        )


Decode = Callable[[memoryview, Shape, Limits], Samples | Integers]
"""Turns the bytes of a clip into samples [n] at the shape's rate, or into integers that are not resampled.

Raises AudioError.
"""


def most_samples(shape: Shape, limits: Limits) -> int:
    """Upper bound on the samples of a clip within the limits, with a second to spare for rounding."""
    return round(limits.max_seconds * shape.rate) + shape.rate


@cache
def most_windows(shape: Shape, limits: Limits) -> int:
    """Upper bound on the windows of a clip within the limits."""
    return len(window_starts(most_samples(shape, limits), shape.window, shape.hop))
