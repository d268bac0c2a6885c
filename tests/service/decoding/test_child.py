"""A decoder, which can open no file and start no thread, reads what the project reads outside of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import soundfile

from model.audio import AudioError, Limits, load
from service.decoding.pool import DecodePool
from service.decoding.shape import Shape
from tests.service.conftest import encoded
from tests.service.spectral import tone

RATE = 16_000
WHOLE = Shape(RATE, 600 * RATE, 600 * RATE, "zero")
LIBSNDFILE = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU", "CAF", "NIST", "MP3")
FFMPEG = (
    *(("adts", "aac"), ("mp4", "alac"), ("webm", "libopus"), ("mpegts", "mp2"), ("avi", "pcm_s16le"), ("ac3", "ac3")),
    *(("eac3", "eac3"), ("wv", "wavpack"), ("tta", "tta"), ("caf", "adpcm_ima_qt"), ("wav", "g722")),
)
"""Containers and codecs; wavpack would decode in threads."""


def by_ffmpeg(container: str, codec: str) -> bytes:
    file = io.BytesIO()
    rate = 48_000 if codec in ("libopus", "ac3", "eac3") else RATE
    with av.open(file, "w", format=container) as output:
        stream = cast("av.AudioStream", output.add_stream(codec, rate=rate))
        stream.layout = "mono"
        pcm = (tone(440, 1, rate) * 32_767).astype(np.int16)[np.newaxis]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.rate = rate
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return file.getvalue()


def recordings() -> Iterator[tuple[str, bytes]]:
    for kind in LIBSNDFILE:
        for subtype in soundfile.available_subtypes(kind):
            try:
                yield f"{kind} {subtype}", encoded(tone(440, 1, RATE), kind, RATE, subtype)
            except soundfile.LibsndfileError:
                continue  # it reads that and does not write it
    for container, codec in FFMPEG:
        yield f"{container} {codec}", by_ffmpeg(container, codec)


async def differences(clips: dict[str, bytes]) -> dict[str, str]:
    """Clips that come to something else in a decoder."""
    found = {}
    async with DecodePool(1, Limits()) as decoding:
        for name, data in clips.items():
            try:
                outside: object = load(data, RATE).tobytes()
            except AudioError as error:
                outside = error.detail
            try:
                decoded = await decoding.decode(data, WHOLE)
                assert isinstance(decoded.windows, np.ndarray)
                inside: object = decoded.windows[0][: round(decoded.duration_s * RATE)].tobytes()
            except AudioError as error:
                inside = error.detail
            if inside != outside:
                found[name] = inside if isinstance(inside, str) else "other samples"
    return found


async def test_every_format_is_read_in_a_decoder() -> None:
    clips = dict(recordings())
    assert len(clips) > 50
    assert await differences(clips) == {}


async def test_recordings_of_people_are_read_in_a_decoder(shared: Path) -> None:
    cases = [path for path in sorted((shared / "cases").glob("*")) if path.suffix not in (".md", ".csv", ".jsonl")]
    if not cases:
        pytest.skip(f"there are no cases at {shared / 'cases'}")
    assert await differences({path.name: path.read_bytes() for path in cases}) == {}
