"""The front end is the paper's formula, and each config's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from model.config import FrontEndConfig
from model.front_end import LogMel, mel_matrix


def test_a_tone_is_loudest_in_the_mel_bin_that_holds_it() -> None:
    config = FrontEndConfig()
    seconds = torch.arange(config.window_samples) / config.sample_rate
    mel = LogMel(config)(torch.sin(2 * torch.pi * 1_000 * seconds)[None])[0]
    centres = (mel_matrix(config) * torch.linspace(0, 22_050, 513)[:, None]).sum(0) / mel_matrix(config).sum(0)
    assert abs(float(centres[mel.mean(0).argmax()]) - 1_000) < 50


def test_decibels_are_ten_times_the_logarithm_of_the_mel_power() -> None:
    config = FrontEndConfig()
    waveform = torch.randn(1, config.window_samples, dtype=torch.float32)
    frames = torch.nn.functional.pad(waveform[:, None], (512, 512), mode="reflect")[0, 0].unfold(0, 1024, 320)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    power = np.abs(np.fft.rfft(frames.numpy() * hann)) ** 2
    expected = 10 * np.log10(np.maximum(power @ mel_matrix(config).numpy(), 1e-10))
    np.testing.assert_allclose(LogMel(config)(waveform)[0].numpy(), expected, atol=2e-3)


def test_silence_is_the_floor_and_not_minus_infinity() -> None:
    config = FrontEndConfig()
    mel = LogMel(config)(torch.zeros(1, config.window_samples))
    torch.testing.assert_close(mel, torch.full_like(mel, -100.0))


def test_half_precision_around_it_does_not_reach_it() -> None:
    front_end = LogMel(FrontEndConfig())
    waveform = torch.randn(1, 220_500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mel = front_end(waveform)
    assert mel.dtype == torch.float32
    torch.testing.assert_close(mel, front_end(waveform))


def test_the_mel_matrix_travels_with_the_weights() -> None:
    assert set(LogMel(FrontEndConfig()).state_dict()) == {"melW"}


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"f_max": 30_000.0}, "does not fit"),
        ({"window_length": 2048}, "longer than n_fft"),
        ({"window_hop_s": 6.0}, "would be skipped"),
        ({"hop": 1}, "Extra inputs"),
    ],
)
def test_a_front_end_that_makes_no_sense_is_refused(members: dict[str, float], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        FrontEndConfig.model_validate(members)
