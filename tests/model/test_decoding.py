"""A clip for a model: resampled, or as it was recorded."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from model.audio import Limits, load
from model.decoding import decode
from model.native import Integers

RATE, TARGET = 44_100, 32_000


def encoded(channels: int, container: str = "FLAC", subtype: str = "PCM_16") -> bytes:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, channels))
    file = io.BytesIO()
    soundfile.write(file, noise, RATE, format=container, subtype=subtype)
    return file.getvalue()


def test_sixteen_bits_in_one_channel_are_left_as_they_were_recorded() -> None:
    data = encoded(1)
    clip = decode(data, TARGET, Limits(), 2 * RATE)
    assert isinstance(clip, Integers)
    assert clip.rate == RATE
    np.testing.assert_array_equal(clip.samples, soundfile.read(io.BytesIO(data), dtype="int16")[0])


@pytest.mark.parametrize(
    ("data", "native_bytes"),
    [(encoded(1), 2 * RATE - 1), (encoded(1), 0), (encoded(2), 1 << 20), (encoded(1, subtype="PCM_24"), 1 << 20)],
)
def test_other_clips_and_longer_ones_are_resampled(data: bytes, native_bytes: int) -> None:
    np.testing.assert_array_equal(decode(data, TARGET, Limits(), native_bytes), load(data, TARGET))
