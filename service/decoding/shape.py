"""The form of audio that the model takes, and a clip decoded to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from model.audio import Limits
from model.config import FrontEndConfig, Padding
from model.windows import Samples, window_starts


@dataclass(frozen=True)
class Shape:
    """The sample rate in Hz that the model takes, and the lengths of its window and hop in samples."""

    rate: int
    window: int
    hop: int
    padding: Padding

    @classmethod
    def of(cls, front_end: FrontEndConfig) -> Shape:
        return cls(front_end.sample_rate, front_end.window_samples, front_end.window_hop_samples, front_end.padding)


@dataclass(frozen=True)
class Decoded:
    """A clip's windows float32 [k, samples] and their starts [k]; the window's length and the clip's, in seconds."""

    windows: npt.NDArray[np.float32]
    starts_s: list[float]
    window_s: float
    duration_s: float
    digest: str = ""
    """SHA-256 of the windows; empty unless the pool computes digests."""


Decode = Callable[[memoryview, Shape, Limits], Samples]
"""Turns the bytes of a clip into samples [n] at the shape's rate. Raises AudioError."""


def most_samples(shape: Shape, limits: Limits) -> int:
    """Upper bound on the samples of a clip within the limits, with a second to spare for rounding."""
    return round(limits.max_seconds * shape.rate) + shape.rate


@cache
def most_windows(shape: Shape, limits: Limits) -> int:
    """Upper bound on the windows of a clip within the limits."""
    return len(window_starts(most_samples(shape, limits), shape.window, shape.hop))
