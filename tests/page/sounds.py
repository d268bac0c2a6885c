"""Recordings made of the examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE = 44_100
Samples = npt.NDArray[np.float32]


def example(name: str, seconds: float) -> Samples:
    """An example, mono at `RATE`, repeated until it has `seconds`."""
    samples, rate = soundfile.read(EXAMPLES / name, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, RATE)
    return np.resize(mono, round(seconds * RATE)).astype(np.float32)


def write(path: Path, *parts: Samples) -> Path:
    """The parts in a row, as a file of 16-bit PCM."""
    soundfile.write(path, np.concatenate(parts), RATE, subtype="PCM_16")
    return path
