"""The clips to send: real recordings of 5 seconds each, as 16-bit WAV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import soxr

SECONDS = 5.0
SUFFIXES = {".wav", ".ogg", ".flac"}


def prepare(source: Path, folder: Path, rate: int | None = None, count: int = 32) -> list[str]:
    """Write up to `count` clips into `folder`: files spread over `source`, cut or repeated to 5 s, mono.

    With `rate` they are resampled, for a system that accepts no other. Raises FileNotFoundError if there are none.
    """
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"there are no recordings in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, path in enumerate(files[:: max(1, len(files) // count)][:count]):
        samples, recorded = soundfile.read(path, dtype="int16", always_2d=True)
        mono = samples[:, 0] if rate is None else soxr.resample(samples[:, 0], recorded, rate)
        clip = folder / f"{number}.wav"
        soundfile.write(clip, np.resize(mono, round(SECONDS * (rate or recorded))), rate or recorded)
        clips.append(str(clip))
    return clips
