"""Excerpts of recordings at their own rate become the windows that libsoxr and `cut` make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from model.audio import resample
from model.checkpoint import DEFAULT
from model.engine import Engine
from model.native import Recording, ratio
from model.resampling import Resampler
from model.windows import cut, window_starts

EXAMPLES = Path(__file__).parents[2] / "examples"
TARGET, WINDOW, HOP = 32_000, 32_000, 20_000
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000)


def recording(rate: int, seconds: float, target: int = TARGET, window: int = WINDOW, hop: int = HOP) -> Recording:
    """Real sound at any rate: the choir's samples, taken as if they had been recorded at that rate."""
    samples, _ = soundfile.read(EXAMPLES / "choir.flac", dtype="int16", always_2d=True)
    samples = np.resize(samples[:, 0], round(rate * seconds))
    found = ratio(rate, target)
    assert found is not None
    length = found.samples(len(samples))
    return Recording(samples, rate, window_starts(length, window, hop), length)


def windows_of(recording: Recording, padding: str = "repeat") -> np.ndarray:
    resampler = Resampler(recording.rate, TARGET, WINDOW, torch.device("cpu"))
    windows = torch.empty(len(recording), WINDOW)
    resampler.fill(windows, dict(enumerate(recording)), padding)  # type: ignore[arg-type]
    return windows.numpy()


@pytest.mark.parametrize("rate", RATES)
def test_windows_are_those_of_libsoxr(rate: int) -> None:
    made = recording(rate, 3.33)
    floats = (made.samples / np.float32(32_768)).astype(np.float32)
    expected, starts = cut(resample(floats, rate, TARGET), WINDOW, HOP, "repeat")
    assert starts.tolist() == made.starts.tolist()
    error = windows_of(made) - expected
    assert np.sqrt((error**2).mean() / (expected**2).mean()) < 2e-3
    assert np.abs(error).max() < 5e-3


@pytest.mark.parametrize("padding", ["repeat", "repeat_whole", "zero"])
def test_a_short_clip_is_padded_at_the_models_rate(padding: str) -> None:
    made = recording(44_100, 0.3)
    floats = (made.samples / np.float32(32_768)).astype(np.float32)
    expected, _ = cut(resample(floats, 44_100, TARGET), WINDOW, HOP, padding)  # type: ignore[arg-type]
    found = windows_of(made, padding)
    assert np.abs(found - expected).max() < 5e-3
    assert np.array_equal(found == 0, expected == 0) or padding == "repeat"


def test_parts_of_a_recording_have_the_same_windows() -> None:
    made = recording(44_100, 9.0)
    found = ratio(44_100, TARGET)
    assert found is not None
    whole = windows_of(made)
    parts = [windows_of(made.part(first, first + 3, found, WINDOW)) for first in range(0, len(made), 3)]
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-6


def test_a_rate_without_a_small_ratio_is_left_to_libsoxr() -> None:
    assert ratio(44_101, TARGET) is None
    with pytest.raises(ValueError, match="44101 Hz"):
        Resampler(44_101, TARGET, WINDOW, torch.device("cpu"))


def test_an_engine_takes_excerpts_beside_windows() -> None:
    engine = Engine(DEFAULT, dtype="float32")
    front_end = engine.info.config.front_end
    sizes = (front_end.sample_rate, front_end.window_samples, front_end.window_hop_samples)
    excerpts = [each for rate in (44_100, 48_000) for each in recording(rate, 6.0, *sizes)]
    arrays = []
    for rate in (44_100, 48_000):
        floats = (recording(rate, 6.0, *sizes).samples / np.float32(32_768)).astype(np.float32)
        arrays += list(cut(resample(floats, rate, sizes[0]), *sizes[1:], front_end.padding)[0])
    mixed = [excerpts[0], arrays[1], excerpts[2], excerpts[3]]
    assert np.abs(engine.embed_audio(mixed) - engine.embed_audio(arrays)).max() < 1e-4
    assert np.abs(engine.embed_audio(excerpts) - engine.embed_audio(mixed)).max() < 1e-4
