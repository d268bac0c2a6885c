"""Clips that need no decoder, and all the others."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from model import plain
from model.audio import AudioError, Limits

RATE = 32_000


def wav(frames: int, rate: int = 44_100, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels))
    soundfile.write(file, noise, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def test_samples_are_the_bytes_that_were_sent() -> None:
    data = wav(100_000)
    clip = plain.read(data, RATE, Limits())
    assert clip is not None
    assert clip.samples.tobytes() == data[44:]
    assert np.shares_memory(clip.samples, np.frombuffer(data, np.uint8))
    assert clip.rate == 44_100


@pytest.mark.parametrize(
    "data",
    [
        wav(4_410, channels=2),
        wav(4_410, subtype="PCM_24"),
        wav(4_410, subtype="FLOAT"),
        wav(4_410, rate=44_101),
        wav(4_410)[:-2],
        b"ID3" + bytes(7) + wav(4_410),
        b"",
    ],
    ids=["stereo", "24 bits", "floats", "an odd rate", "cut off", "tagged", "empty"],
)
def test_every_other_clip_is_left_to_a_decoder(data: bytes) -> None:
    assert plain.read(data, RATE, Limits()) is None


def test_a_clip_of_one_window_is_known_by_its_header() -> None:
    def one(data: bytes) -> bool:
        return plain.is_one_window(data, RATE, samples=RATE)

    assert one(wav(4_410))
    assert one(wav(44_100))
    assert not one(wav(44_101)), "it has two"
    assert not one(wav(4_410, channels=2)), "it needs a decoder"
    assert not one(wav(4_410, subtype="FLOAT"))
    assert not one(b"")


def test_limits_apply_before_a_sample_is_touched() -> None:
    with pytest.raises(AudioError, match="the limit is 2 s"):
        plain.read(wav(3 * 44_100), RATE, Limits(max_seconds=2))
    with pytest.raises(AudioError, match="500 Hz"):
        plain.read(wav(4_410, rate=500), RATE, Limits())
