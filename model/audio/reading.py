"""A clip's bytes to its waveform: the choice of a decoder, and the error if none can read it.

A plain WAV is read from its bytes (`wav`). libsndfile reads every other WAV, FLAC, Ogg, AIFF, AU and CAF (`sndfile`);
FFmpeg reads everything else, and what libsndfile cannot open (`ffmpeg`).
"""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np

from model.audio import ffmpeg, ogg, sndfile, wav
from model.audio.downmix import Downmix
from model.audio.errors import AudioError
from model.audio.formats import FRAMES_ONLY, TAKEN, embedded, other, signature
from model.audio.limits import Budget, Limits
from model.audio.tags import between_tags
from model.audio.waveform import Samples, Waveform, resample

Source = bytes | bytearray | memoryview | str | Path
"""A clip's bytes, or the path of a file that holds them."""

MAX_PIPE_BYTES = 1 << 30


def read(source: Source, limits: Limits | None = None) -> Waveform:
    """Decode the whole clip and average its channels.

    Where the average cancels out, as in stereo with one channel inverted, the loudest channel is taken instead. A clip
    that is cut off or damaged in the middle gives what decodes. Raises AudioError for anything that is not usable audio
    or is over the limits, and OSError where `source` is a path that cannot be opened.
    """
    budget = Budget(limits or Limits())
    if not isinstance(source, str | Path):
        with memoryview(source) as view, view.cast("B") as data:
            return _read(data, budget)
    with Path(source).open("rb") as file:
        if not file.seekable():
            return _read_pipe(file, budget)
        if file.seek(0, io.SEEK_END) == 0:
            return _read(memoryview(b""), budget)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return _read(data, budget)


def _read_pipe(file: BinaryIO, budget: Budget) -> Waveform:
    data = file.read(MAX_PIPE_BYTES + 1)
    if len(data) > MAX_PIPE_BYTES:
        raise AudioError("too_large", f"The pipe holds more than {MAX_PIPE_BYTES >> 20} MiB.", "audio_too_long")
    with memoryview(data) as view:
        return _read(view, budget)


def load(source: Source, rate: int, limits: Limits | None = None) -> Samples:
    """`read`, then `resample` to `rate` Hz."""
    waveform = read(source, limits)
    return resample(waveform.samples, waveform.rate, rate)


def _read(data: memoryview, budget: Budget) -> Waveform:
    if len(data) == 0:
        raise AudioError("empty", "The clip is empty: 0 bytes.")
    # Slices are released here: a mapped file cannot be closed while an exception's traceback holds one.
    with data[between_tags(data)] as body:
        waveform = _decode(body, budget)
        if waveform is None and other(body) is None and (start := embedded(body)) is not None:
            with body[start:] as rest:
                waveform = _decode(rest, budget)
        if waveform is None:
            raise refusal(body)
    if len(waveform.samples) == 0:
        raise AudioError("no_frames", "The clip holds no audio: 0 frames.")
    return waveform


def _decode(data: memoryview, budget: Budget) -> Waveform | None:
    """The clip, or every part of a chain that can be read, at the first one's rate. None where no decoder opens it."""
    parts = ogg.links(data) if signature(data) == "Ogg" else [slice(None)]
    if len(parts) == 1:
        return _decode_part(data, budget)
    waveforms = []
    for part in parts:
        with data[part] as each:
            try:
                waveform = _decode_part(each, budget)
            except AudioError as error:
                if error.code == "audio_too_long":
                    raise
                continue  # as in any damaged clip, the other parts are still read
        if waveform and len(waveform.samples):
            waveforms.append(waveform)
    if not waveforms:
        return None
    rate = waveforms[0].rate
    return Waveform(np.concatenate([resample(each.samples, each.rate, rate) for each in waveforms]), rate)


def _decode_part(data: memoryview, budget: Budget) -> Waveform | None:
    before, downmix = budget.spent, Downmix()
    waveform = _decode_once(data, budget, downmix)
    if (channel := downmix.cancelled) is None:
        return waveform
    waveform, budget.spent = None, before
    return _decode_once(data, budget, Downmix(channel))


def _decode_once(data: memoryview, budget: Budget, downmix: Downmix) -> Waveform | None:
    waveform = wav.read(data, budget, downmix)
    if waveform:
        return waveform
    if signature(data) in sndfile.FORMATS and not sndfile.MP3_IN_WAV.match(data):
        waveform = sndfile.read(data, budget, downmix)
    # The header of a streamed WAV says 0 bytes of data, and libsndfile believes it; FFmpeg reads to the end.
    if waveform is None or len(waveform.samples) == 0:
        waveform = ffmpeg.read(data, budget, downmix) or waveform
    return waveform


def refusal(data: memoryview) -> AudioError:
    """Why no decoder could open a clip."""
    size = f"({len(data)} bytes)"
    if (name := other(data)) is not None:
        return AudioError(
            "unrecognised", f"The clip is {name}, not audio in any format that can be read {size}. {TAKEN}"
        )
    if (name := signature(data)) is not None and name not in FRAMES_ONLY:
        detail = f"The clip begins as {name}, but its header is cut short or damaged {size}."
        return AudioError("truncated_header", detail)
    return AudioError("unrecognised", f"The clip is not audio in any format that can be read {size}. {TAKEN}")
