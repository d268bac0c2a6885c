"""Recordings at the rate they were made with, and the rates that an engine resamples itself. NumPy only.

A rate that has a small ratio to the model's need not be resampled where a clip is read: its samples are sent as they
are, half the size of float32, and a batch of windows is resampled on the device (`model/resampling.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd, pi

import numpy as np
import numpy.typing as npt

from model.windows import Samples, Starts

Array = npt.NDArray[np.float64]

PASSBAND = 0.9137
"""Where the filter begins to fall, as a share of the lower Nyquist frequency; it has fallen at 1. libsoxr's `HQ`."""
ATTENUATION_DB = 126.0
MOST = 1_280
"""The longest block, in samples of either rate. Rates with a larger ratio are left to libsoxr."""
BLOCK = 320
"""The shortest block, in samples of the higher rate: ratios of small numbers are repeated."""

PROBE = 1_024
"""Samples looked at first: most clips that are no integers are found out by them."""


@dataclass(frozen=True)
class Ratio:
    """`native` samples of a recording last as long as `model` samples of the model's rate: a block.

    `lead` blocks on each side of an output are what the filter reaches.
    """

    native: int
    model: int
    lead: int

    def samples(self, native: int) -> int:
        """The length at the model's rate of `native` samples, as `model.audio.resample` has it."""
        return max(1, round(native * self.model / self.native))

    def filter(self) -> Array:
        """The right half [n] of the symmetric low-pass filter, at the higher of the two rates: a sinc with a Kaiser
        window (Kaiser 1974)."""
        grid, lower = max(self.native, self.model), min(self.native, self.model)
        width = pi * (1 - PASSBAND) * lower / grid
        half = ceil((ATTENUATION_DB - 7.95) / (2.285 * width) / 2)
        cutoff = (PASSBAND + 1) / 2 * lower / grid
        at = np.arange(half + 1)
        beta = 0.1102 * (ATTENUATION_DB - 8.7)
        window = np.i0(beta * np.sqrt(1 - (at / half) ** 2)) / np.i0(beta)
        taps: Array = cutoff * np.sinc(cutoff * at) * window
        return taps


@lru_cache(256)
def ratio(rate: int, target: int) -> Ratio | None:
    """The ratio of a recording's rate to the model's, in Hz.

    None for rates that only libsoxr resamples: those of large ratios, and those at which 16-bit samples take more
    memory than float32 at the model's rate.
    """
    if rate == target:
        return Ratio(1, 1, 0)
    common = gcd(rate, target)
    native, model = rate // common, target // common
    times = ceil(BLOCK / max(native, model))
    native, model = native * times, model * times
    if max(native, model) > MOST or rate > 2 * target:
        return None
    reach = len(Ratio(native, model, 0).filter())
    return Ratio(native, model, ceil(reach / max(native, model)))


@dataclass(frozen=True)
class Integers:
    """A clip's mono samples [n] as 16-bit integers, at `rate` Hz."""

    samples: npt.NDArray[np.int16]
    rate: int


def integers(samples: Samples, rate: int, target: int) -> Integers | None:
    """A decoded clip whose samples [n] are 16-bit integers, as they were recorded: WAV and FLAC in one channel.

    None for other clips, and for a rate that workers do not resample to `target` Hz.
    """
    if ratio(rate, target) is None or not len(samples):
        return None
    scaled = samples[:PROBE] * np.float32(32_768)
    if not np.array_equal(scaled, np.rint(scaled)):
        return None
    scaled = samples * np.float32(32_768)
    if scaled.min() < -32_768 or scaled.max() > 32_767:
        return None
    whole = scaled.astype(np.int16)
    return Integers(whole, rate) if np.array_equal(whole, scaled) else None


@dataclass(frozen=True)
class Recording:
    """Windows of a recording that is not resampled yet.

    `samples` [n] are mono 16-bit integers at `rate` Hz. Windows begin at `starts` [k], and the whole clip is `length`
    long, both in samples of the model's rate.
    """

    samples: npt.NDArray[np.int16]
    rate: int
    starts: Starts
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[Excerpt]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> Excerpt:
        return Excerpt(self, int(self.starts[index]))

    def at(self, starts: Starts, target: int, window: int) -> Recording:
        """Other windows of the clip, with the samples that they need, for a model at `target` Hz."""
        found = ratio(self.rate, target)
        if found is None:
            raise ValueError(f"{self.rate} Hz has no small ratio to {target} Hz")
        return Recording(self.samples, self.rate, starts, self.length).part(0, len(starts), found, window)

    def part(self, first: int, last: int, ratio: Ratio, window: int) -> Recording:
        """The windows from `first` up to `last`, with the samples that they and the filter need."""
        starts = self.starts[first:last]
        begin = max(0, int(starts.min()) // ratio.model - ratio.lead)
        end = -(-(int(starts.max()) + window) // ratio.model) + ratio.lead
        samples = self.samples[begin * ratio.native : end * ratio.native]
        return Recording(samples, self.rate, starts - begin * ratio.model, self.length)


@dataclass(frozen=True)
class Excerpt:
    """One window of a recording."""

    recording: Recording
    start: int

    def write(self, row: Samples, ratio: Ratio) -> int:
        """Fill `row` with the samples in [-1, 1) that the window and the filter need, from a whole block on; zeros
        stand before the recording and after it. Returns how many samples of the model's rate lie before the window."""
        samples = self.recording.samples
        begin = (self.start // ratio.model - ratio.lead) * ratio.native
        first = max(0, begin)
        taken = samples[first : max(first, begin + len(row))]
        at = first - begin
        row[:at] = 0
        np.multiply(taken, np.float32(1 / 32768), out=row[at : at + len(taken)], dtype=np.float32)
        row[at + len(taken) :] = 0
        return self.start % ratio.model
