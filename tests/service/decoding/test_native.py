"""Clips that are left for the worker to resample: their windows and their digests."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from model import plain
from model.audio import Limits
from model.native import Recording
from service.decoding.decoder import BRIEF_BYTES
from service.decoding.pool import DecodePool
from service.decoding.shape import Decoded, Shape

SHAPE = Shape(rate=32_000, window=32_000, hop=32_000, padding="repeat", native=True)


def wav(frames: int, rate: int = 44_100, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (frames, channels))
    soundfile.write(file, noise, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def read(data: bytes, digests: bool = False) -> Decoded:
    clip = plain.read(data, SHAPE.rate, Limits())
    assert clip is not None
    return Decoded.of_integers(clip, SHAPE, digests)


def test_windows_begin_where_those_of_the_resampled_clip_begin() -> None:
    decoded = read(wav(100_000))
    assert isinstance(decoded.windows, Recording)
    assert decoded.duration_s == pytest.approx(100_000 / 44_100, abs=1e-4)
    assert decoded.starts_s == pytest.approx([0.0, 1.0, 100_000 / 44_100 - 1], abs=1e-4)


def test_a_digest_is_that_of_samples_and_rate() -> None:
    def digest(data: bytes) -> str:
        return read(data, digests=True).digest

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
