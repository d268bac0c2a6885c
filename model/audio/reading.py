"""A clip's bytes to its waveform: which decoder gets it, and what is said where none can read it.

A plain WAV is read from its bytes (`wav`). libsndfile reads every other WAV, FLAC, Ogg, AIFF and AU (`sndfile`); FFmpeg
reads everything else, and what libsndfile cannot open (`ffmpeg`).
"""

from __future__ import annotations

import io
import mmap
from pathlib import Path

from model.audio import ffmpeg, sndfile, wav
from model.audio.errors import AudioError
from model.audio.formats import signature
from model.audio.limits import Limits
from model.audio.waveform import Samples, Waveform, resample

Source = bytes | bytearray | memoryview | str | Path
"""A clip's bytes, or the path of a file that holds them."""


def read(source: Source, limits: Limits | None = None) -> Waveform:
    """Decode the whole clip and average its channels.

    A clip that is cut off or damaged in the middle gives what decodes. Raises AudioError for anything that is not
    usable audio or is over the limits, and OSError where `source` is a path that cannot be opened.
    """
    limits = limits or Limits()
    if not isinstance(source, str | Path):
        with memoryview(source) as view, view.cast("B") as data:
            return _read(data, limits)
    with Path(source).open("rb") as file:
        if file.seek(0, io.SEEK_END) == 0:
            return _read(memoryview(b""), limits)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return _read(data, limits)


def load(source: Source, rate: int, limits: Limits | None = None) -> Samples:
    """`read`, then `resample` to `rate` Hz."""
    waveform = read(source, limits)
    return resample(waveform.samples, waveform.rate, rate)


def _read(data: memoryview, limits: Limits) -> Waveform:
    if len(data) == 0:
        raise AudioError("empty", "The clip is empty: 0 bytes.")
    begins_as = signature(data)
    waveform = wav.read(data, limits)
    if waveform:
        return waveform
    if begins_as in sndfile.FORMATS and not (begins_as == "WAV" and sndfile.MP3_IN_WAV.search(data)):
        waveform = sndfile.read(data, limits)
    # The header of a streamed WAV says 0 bytes of data, and libsndfile believes it; FFmpeg reads to the end.
    if waveform is None or len(waveform.samples) == 0:
        waveform = ffmpeg.read(data, limits) or waveform
    if waveform is None and begins_as:
        detail = f"The clip begins as {begins_as}, but its header is cut short or damaged ({len(data)} bytes)."
        raise AudioError("truncated_header", detail)
    if waveform is None:
        raise AudioError("unrecognised", f"The clip is not audio in any format that can be read ({len(data)} bytes).")
    if len(waveform.samples) == 0:
        raise AudioError("no_frames", "The clip holds no audio: 0 frames.")
    return waveform
