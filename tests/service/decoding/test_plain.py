"""Clips that need no decoder, and all the others."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from model.audio import AudioError, Limits
from model.native import Recording
from service.decoding import plain
from service.decoding.decoder import BRIEF_BYTES
from service.decoding.pool import DecodePool
from service.decoding.shape import Decoded, Shape

SHAPE = Shape(rate=32_000, window=32_000, hop=32_000, padding="repeat", native=True)


def wav(frames: int, rate: int = 44_100, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels))
    soundfile.write(file, noise, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def read(data: bytes, digests: bool = False, limits: Limits | None = None) -> Decoded | None:
    clip = plain.read(data, SHAPE, limits or Limits())
    return None if clip is None else Decoded.of_integers(clip, SHAPE, digests)


def test_samples_are_the_bytes_that_were_sent() -> None:
    data = wav(100_000)
    decoded = read(data)
    assert decoded is not None
    assert isinstance(decoded.windows, Recording)
    assert decoded.windows.samples.tobytes() == data[44:]
    assert np.shares_memory(decoded.windows.samples, np.frombuffer(data, np.uint8))
    assert decoded.duration_s == pytest.approx(100_000 / 44_100, abs=1e-4)
    assert decoded.starts_s == pytest.approx([0.0, 1.0, 100_000 / 44_100 - 1], abs=1e-4)


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
    assert read(data) is None


def test_limits_apply_before_a_sample_is_touched() -> None:
    with pytest.raises(AudioError, match="the limit is 2 s"):
        read(wav(3 * 44_100), limits=Limits(max_seconds=2))
    with pytest.raises(AudioError, match="500 Hz"):
        read(wav(4_410, rate=500))


def test_a_digest_is_that_of_samples_and_rate() -> None:
    def digest(data: bytes) -> str:
        decoded = read(data, digests=True)
        assert decoded is not None
        return decoded.digest

    data = wav(4_410)
    other_header = data[:12] + b"note\x02\0\0\0hi" + data[12:]
    assert digest(data) == digest(other_header)
    assert len({digest(data), digest(wav(4_411)), digest(wav(4_410, rate=22_050))}) == 3


async def test_a_recording_is_the_same_in_every_container_that_keeps_its_samples() -> None:
    samples = np.random.default_rng(0).integers(-20_000, 20_000, 100_000, np.int16)
    files = {}
    for kind in ("WAV", "FLAC", "AIFF"):
        files[kind] = io.BytesIO()
        soundfile.write(files[kind], samples, 44_100, format=kind, subtype="PCM_16")
    async with DecodePool(1, Limits(), mode="best-effort", digests=True) as pool:
        decoded = {kind: await pool.decode(file.getvalue(), SHAPE) for kind, file in files.items()}
        resampled = await pool.decode(files["FLAC"].getvalue(), replace(SHAPE, native=False))
        stereo = await pool.decode(wav(44_100, channels=2), SHAPE)
        long = await pool.decode(wav(BRIEF_BYTES), SHAPE)
    for each in decoded.values():
        assert isinstance(each.windows, Recording)
        assert np.array_equal(each.windows.samples, samples)
        assert each.starts_s == resampled.starts_s
        assert each.duration_s == resampled.duration_s
    assert len({each.digest for each in decoded.values()}) == 1
    assert isinstance(resampled.windows, np.ndarray)
    assert isinstance(stereo.windows, np.ndarray)
    assert isinstance(long.windows, Recording)
    assert len(long.windows) == len(long.starts_s)
