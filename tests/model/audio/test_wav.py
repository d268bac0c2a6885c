"""Plain WAV without a decoder: the same samples, and nothing that the header only claims."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from model.audio import read
from model.audio.wav import MAX_CHUNKS, plain_pcm
from tests.model.audio.clips import FORMATS, RATE, tone


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """One RIFF chunk, that says it holds `size` bytes."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)


def layout(tag: int = 1, channels: int = 1, rate: int = RATE, width: int = 2, bits: int = 16) -> bytes:
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits))


def wav(*chunks: bytes) -> bytes:
    return chunk(b"RIFF", b"WAVE" + b"".join(chunks))


SAMPLES = np.array([0, 1, -1, 32767, -32768, 300], np.int16).tobytes()
DATA = chunk(b"data", SAMPLES)


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("name", ["wav-16", "wav-float"])
def test_gives_what_libsndfile_gives(name: str, channels: int) -> None:
    clip = FORMATS[name](tone(1.0, channels=channels), RATE)
    assert plain_pcm(memoryview(clip)) is not None
    expected = soundfile.read(io.BytesIO(clip), dtype="float32", always_2d=True)[0].mean(axis=1)
    np.testing.assert_allclose(read(clip).samples, expected, rtol=0, atol=1e-7 if channels > 2 else 0)


@pytest.mark.parametrize(
    "clip",
    [
        wav(layout(), DATA),
        wav(chunk(b"LIST", b"odd"), layout(), chunk(b"fact", bytes(4)), DATA, chunk(b"id3 ", b"after")),
        wav(chunk(b"fmt ", layout()[8:] + bytes(2)), DATA),
        wav(layout(), DATA) + b"more than RIFF says",
        wav(layout(), chunk(b"data", SAMPLES + b"\0")),
    ],
)
def test_finds_the_samples_between_other_chunks(clip: bytes) -> None:
    pcm = plain_pcm(memoryview(clip))
    assert pcm is not None
    assert pcm.rate == RATE
    np.testing.assert_array_equal(pcm.values(memoryview(clip))[:, 0], np.frombuffer(SAMPLES, np.int16))


@pytest.mark.parametrize(
    "clip",
    [
        b"",
        b"RIFF",
        wav(),
        wav(layout()),
        wav(DATA, layout()),
        wav(layout(), layout(), DATA),
        wav(layout(), chunk(b"data", b"")),
        wav(layout(), chunk(b"data", SAMPLES, size=len(SAMPLES) + 1)),
        wav(layout(), chunk(b"data", SAMPLES, size=0xFFFFFFFF)),
        wav(chunk(b"LIST", b"", size=0xFFFFFFFF), layout(), DATA),
        wav(layout()[:-6]),
        wav(chunk(b"fmt ", bytes(8)), DATA),
        wav(layout(tag=0x55), DATA),
        wav(layout(bits=24, width=3), DATA),
        wav(layout(width=4), DATA),
        wav(layout(channels=0, width=0), DATA),
        wav(layout(rate=0), DATA),
        wav(*[chunk(b"junk", b"")] * MAX_CHUNKS, layout(), DATA),
    ],
)
def test_leaves_anything_else_to_a_decoder(clip: bytes) -> None:
    assert plain_pcm(memoryview(clip)) is None


@pytest.mark.parametrize("make", [bytes, bytearray])
def test_the_waveform_is_no_view_of_the_clip(make: Callable[[bytes], bytes | bytearray]) -> None:
    clip = make(FORMATS["wav-float"](tone(0.1), RATE))
    samples = read(clip).samples
    samples[:] = 0
    assert read(clip).samples.any()
