"""The clips that are sent: real recordings, all 5 seconds long, as 16-bit WAV at the rate they were recorded with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

SECONDS = 5.0
SUFFIXES = {".wav", ".ogg", ".flac"}


def prepare(source: Path, folder: Path, count: int = 32) -> list[str]:
    """Write up to `count` clips into `folder`: files spread over `source`, cut or repeated to 5 s, mono.

    Raises FileNotFoundError where there are no recordings.
    """
    files = sorted(path for path in source.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"there are no recordings in {source}")
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for number, path in enumerate(files[:: max(1, len(files) // count)][:count]):
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        clip = folder / f"{number}.wav"
        soundfile.write(clip, np.resize(samples[:, 0], round(SECONDS * rate)), rate)
        clips.append(str(clip))
    return clips
