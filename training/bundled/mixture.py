"""Mixtures of recordings, changed in speed, colour, space and level.

Filters and rooms are applied to the spectrum of the whole window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

Rng = np.random.Generator
Floats = npt.NDArray[np.float32]
Sample = TypeVar("Sample", np.int16, np.float32)

COUNTS = (0.45, 0.35, 0.2)
"""Probabilities of mixtures of one, two and three recordings."""
SPEED, COLOUR, ROOM, NOISE = 0.5, 0.5, 0.15, 0.15
"""Probability of each change: the first three per recording, noise per mixture."""
LOWEST_HZ = 50.0


def speed(x: Floats, rate: int, length: int, rng: Rng) -> Floats:
    """A cut of up to `length` samples, played faster or slower by up to a quarter."""
    factor = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
    changed: Floats = soxr.resample(cut(x, math.ceil(length * factor), rng), rate * factor, rate, quality="QQ")
    return changed


def cut(x: npt.NDArray[Sample], length: int, rng: Rng) -> npt.NDArray[Sample]:
    """A random cut of a recording longer than `length`; a shorter one as it is."""
    start = int(rng.integers(0, max(len(x) - length, 0) + 1))
    return x[start : start + length]


def place(x: Floats, length: int, rng: Rng) -> Floats:
    """A recording as `length` samples: a random cut of a long one; a short one tiled, or once at a random place."""
    if len(x) >= length:
        return cut(x, length, rng)
    if rng.random() < 0.5:
        return np.resize(np.roll(x, int(rng.integers(0, len(x)))), length)
    out = np.zeros(length, np.float32)
    start = int(rng.integers(0, length - len(x) + 1))
    out[start : start + len(x)] = x
    return out


def colour(bins: int, rate: int, rng: Rng) -> Tensor:
    """Gains [bins] of a random filter: two per octave, standard deviation 5 dB, interpolated; at times a band limit."""
    octaves = math.log2(rate / 2 / LOWEST_HZ)
    knots = rng.normal(0.0, 5.0, math.ceil(2 * octaves) + 1)
    position = np.log2(np.maximum(np.linspace(0, rate / 2, 1025), LOWEST_HZ) / LOWEST_HZ)
    decibels = np.interp(position, np.arange(len(knots)) / 2, knots)
    if rng.random() < 0.3:  # a small loudspeaker, a far microphone
        decibels -= rng.uniform(6, 24) * np.maximum(position - rng.uniform(4, octaves), 0)
    if rng.random() < 0.3:
        decibels -= rng.uniform(6, 24) * np.maximum(rng.uniform(0, 3.5) - position, 0)
    gains = 10 ** (np.maximum(decibels, -80) / 20)
    return torch.from_numpy(np.interp(np.linspace(0, 1024, bins), np.arange(1025), gains).astype(np.float32))


def room(length: int, rate: int, rng: Rng) -> Tensor:
    """Spectrum of a room response: direct sound, and noise that decays over 0.1 to 1 s at 0 to -12 dB."""
    size = min(round(rng.uniform(0.1, 1.0) * rate), length)
    tail = torch.from_numpy(rng.standard_normal(size, dtype=np.float32)) * torch.logspace(0, -3, size)
    tail = tail / tail.norm() * 10 ** (-rng.uniform(0, 12) / 20)
    tail[0] += 1.0
    spectrum: Tensor = torch.fft.rfft(tail, length)
    return spectrum


def noise(length: int, rng: Rng) -> Tensor:
    """Coloured noise [length]: its spectrum falls by 0 to 12 dB an octave."""
    bins = length // 2 + 1
    normal = torch.from_numpy(rng.standard_normal((bins, 2), dtype=np.float32))
    falling = torch.view_as_complex(normal) * torch.arange(1, bins + 1).float() ** -rng.uniform(0, 2)
    samples: Tensor = torch.fft.irfft(falling, length)
    return samples


def mixture(sources: Sequence[npt.NDArray[np.int16]], rate: int, length: int, rng: Rng) -> Tensor:
    """Windows of `sources` mixed at -12 to 0 dB below the first, with noise at times, at a random level [length]."""
    total = torch.zeros(length)
    filtered = torch.zeros(length // 2 + 1, dtype=torch.complex64)
    for number, source in enumerate(sources):
        x = cut(source, 2 * length, rng).astype(np.float32) / 32767.0
        if rng.random() < SPEED:
            x = speed(x, rate, length, rng)
        window = torch.from_numpy(place(x, length, rng))
        gain = 1.0 if number == 0 else 10 ** (-rng.uniform(0, 12) / 20)
        window = window * (gain / window.square().mean().sqrt().clamp(min=1e-5))
        coloured, in_room = rng.random() < COLOUR, rng.random() < ROOM
        if not (coloured or in_room):
            total += window
            continue
        spectrum = torch.fft.rfft(window)
        if coloured:
            spectrum *= colour(len(spectrum), rate, rng)
        if in_room:
            spectrum *= room(length, rate, rng)
        filtered += spectrum
    if filtered.any():
        total += torch.fft.irfft(filtered, length)
    if rng.random() < NOISE:
        background = noise(length, rng)
        total += background * (total.norm() / background.norm() * 10 ** (-rng.uniform(10, 35) / 20))
    peak = 10 ** (-rng.uniform(0, 20) / 20)
    return total * (peak / total.abs().max().clamp(min=1e-5))
