"""The clips to send: real recordings of 5 seconds each, as 16-bit WAV or compressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

SECONDS = 5.0
SUFFIXES = {".wav", ".ogg", ".flac"}


FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
}
"""libsndfile's container and encoding, by the suffix of the clips."""
WAV_HEADER_BYTES = 44
OPUS_RATE = 48_000
"""The rate at which Opus is always encoded."""


def frames_of(rate: int) -> int:
    """Frames of a clip: 5 s, up to two frames less, so that a WAV has a multiple of 6 bytes (`load.Clips`)."""
    frames = round(SECONDS * rate)
    return frames - (WAV_HEADER_BYTES // 2 + frames) % 3


def prepare(
    source: Path, folder: Path, rate: int | None = None, count: int = 32, kinds: Sequence[str] = ("wav",)
) -> list[str]:
    """Write up to `count` clips of each of `kinds` into `folder`: files spread over `source`, cut or repeated to 5 s,
    mono.

    With `rate` they are resampled. Raises FileNotFoundError if there are none.
    """
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"there are no recordings in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, path in enumerate(files[:: max(1, len(files) // count)][:count]):
        samples, recorded = soundfile.read(path, dtype="int16", always_2d=True)
        for kind in kinds:
            target = OPUS_RATE if kind == "opus" else rate or recorded
            mono = samples[:, 0] if target == recorded else soxr.resample(samples[:, 0], recorded, target)
            clip = folder / f"{number}.{kind}"
            container, encoding = FORMATS[kind]
            soundfile.write(clip, np.resize(mono, frames_of(target)), target, format=container, subtype=encoding)
            clips.append(str(clip))
    return clips
