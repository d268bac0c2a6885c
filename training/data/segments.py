"""A random segment of a recording, without decoding the rest of the file where the format allows it."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import soundfile

from model.audio import MAX_AMPLITUDE, AudioError, Limits, read, resample
from model.config import Padding
from model.windows import Samples, pad

# Formats in which libsndfile seeks to the exact sample. Other files are decoded completely.
SEEKABLE = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU", "CAF"})
WHOLE = Limits(max_seconds=3600.0, max_decoded_bytes=4 << 30)


def read_segment(source: Path | bytes, rate: int, length: int, padding: Padding, rng: np.random.Generator) -> Samples:
    """`length` samples at `rate` Hz, mono, from a random place of the recording; a shorter one is padded.

    Raises AudioError or OSError where the recording cannot be read.
    """
    samples, found = _native(source, length / rate, rng)
    # `not <=` instead of `>`, so that NaN is refused too.
    if not np.abs(samples).max(initial=0.0) <= MAX_AMPLITUDE:
        raise AudioError("non_finite", "The segment has samples that are NaN, infinite or far over full scale.")
    at_rate = resample(samples, found, rate)[:length]
    return pad(at_rate, length, padding).astype(np.float32, copy=False)


def _native(source: Path | bytes, seconds: float, rng: np.random.Generator) -> tuple[Samples, int]:
    """A segment of at most `seconds`, mono, at the recording's own rate; never empty."""
    sound = _open(source)
    if sound is None:
        whole = read(source, WHOLE)
        start, frames = _place(len(whole.samples), math.ceil(seconds * whole.rate), rng)
        return whole.samples[start : start + frames], whole.rate
    with sound:
        start, frames = _place(sound.frames, math.ceil(seconds * sound.samplerate), rng)
        try:
            sound.seek(start)
            block = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError("corrupt", f"The recording cannot be decoded: {error.error_string}") from None
        if len(block) == 0:
            raise AudioError("no_frames", "The recording holds no audio where its header says it does.")
        with np.errstate(over="ignore", invalid="ignore"):
            return block.mean(axis=1), sound.samplerate


def _place(frames: int, wanted: int, rng: np.random.Generator) -> tuple[int, int]:
    """Start and length of a random segment, in frames."""
    if frames <= wanted:
        return 0, frames
    return int(rng.integers(frames - wanted + 1)), wanted


def _open(source: Path | bytes) -> soundfile.SoundFile | None:
    """Open a recording; None where libsndfile cannot open it, seek in it exactly, or tell its length."""
    try:
        sound = soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except soundfile.LibsndfileError:
        return None
    if sound.format in SEEKABLE and not sound.subtype.startswith("MPEG") and 0 < sound.frames < 1 << 62:
        return sound
    sound.close()
    return None
