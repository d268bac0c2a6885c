"""Waveform augmentation: mixtures of recordings, changed in speed, colour, space and level."""

from __future__ import annotations

import math

import numpy as np
import soxr
import torch
import torchaudio.functional as AF
from torch import Tensor

Rng = np.random.Generator


def speed(x: Tensor, rate: int, rng: Rng) -> Tensor:
    """Play faster or slower by up to a quarter, which moves pitch and tempo together."""
    factor = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
    return torch.from_numpy(soxr.resample(x.numpy(), rate * factor, rate, quality="QQ"))


def colour(x: Tensor, rate: int, rng: Rng) -> Tensor:
    """One or two of: a peak or dip anywhere in the band, a low-pass, a high-pass."""
    top = 0.49 * rate  # a filter above half the rate is not stable
    for kind in rng.choice(3, size=rng.integers(1, 3), replace=False):
        if kind == 0:
            centre = min(math.exp(rng.uniform(math.log(100), math.log(10_000))), top)
            x = AF.equalizer_biquad(x, rate, centre, rng.uniform(-12, 12), rng.uniform(0.3, 2.0))
        elif kind == 1:
            x = AF.lowpass_biquad(x, rate, min(math.exp(rng.uniform(math.log(2_000), math.log(15_000))), top))
        else:
            x = AF.highpass_biquad(x, rate, math.exp(rng.uniform(math.log(30), math.log(600))))
    return x


def reverberate(x: Tensor, rate: int, rng: Rng) -> Tensor:
    """Convolve with decaying noise: a room of 0.1 to 1 s, its direct sound 0 to 12 dB above the tail."""
    decay_s = rng.uniform(0.1, 1.0)
    n = round(decay_s * rate)
    tail = torch.from_numpy(rng.standard_normal(n).astype(np.float32)) * torch.logspace(0, -3, n)
    tail = tail / tail.norm() * 10 ** (-rng.uniform(0, 12) / 20)
    tail[0] += 1.0
    size = 1 << (len(x) + n - 1).bit_length()  # torchaudio's fftconvolve takes the odd length, several times slower
    wet: Tensor = torch.fft.irfft(torch.fft.rfft(x, size) * torch.fft.rfft(tail, size), size)
    return wet[: len(x)]


def place(x: Tensor, length: int, rng: Rng) -> Tensor:
    """A recording as `length` samples: a random cut of a long one; a short one tiled, or once at a random place."""
    if len(x) > length:
        start = int(rng.integers(0, len(x) - length + 1))
        return x[start : start + length]
    if rng.random() < 0.5:
        shift = int(rng.integers(0, len(x)))
        return x.repeat(math.ceil(length / len(x)) + 1)[shift : shift + length]
    out = torch.zeros(length)
    start = int(rng.integers(0, length - len(x) + 1))
    out[start : start + len(x)] = x
    return out


def change(x: Tensor, rate: int, length: int, rng: Rng) -> Tensor:
    """One recording -> one window [length], each change applied or not by chance, RMS 1."""
    if rng.random() < 0.5:
        x = speed(x[: 2 * length], rate, rng)
    x = place(x, length, rng)
    if rng.random() < 0.4:
        x = colour(x, rate, rng)
    if rng.random() < 0.25:
        x = reverberate(x, rate, rng)
    return x / x.square().mean().sqrt().clamp(min=1e-5)


def noise(length: int, rng: Rng) -> Tensor:
    """Coloured noise [length], RMS 1: spectrum falling by 0 to 12 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    x = torch.from_numpy(np.fft.irfft(spectrum * frequency ** -rng.uniform(0, 2), length).astype(np.float32))
    return x / x.square().mean().sqrt()


def mixture(sources: list[Tensor], rate: int, length: int, rng: Rng) -> Tensor:
    """Windows of `sources` mixed at -12 to 0 dB below the first, with noise at times, at a random level [length]."""
    total = change(sources[0], rate, length, rng)
    for source in sources[1:]:
        total = total + change(source, rate, length, rng) * 10 ** (-rng.uniform(0, 12) / 20)
    if rng.random() < 0.15:
        total = total + noise(length, rng) * 10 ** (-rng.uniform(10, 35) / 20)
    peak = 10 ** (-rng.uniform(0, 20) / 20)
    return total * (peak / total.abs().max().clamp(min=1e-5))
