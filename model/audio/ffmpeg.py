"""FFmpeg (PyAV): MP3, MP4, WebM, AMR and whatever libsndfile cannot open, from a list of containers and codecs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt

from model.audio.byte_stream import ByteStream
from model.audio.downmix import average, join
from model.audio.errors import AudioError
from model.audio.limits import Budget, Limits
from model.audio.waveform import Samples, Waveform, resample

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.stream import AudioStream
    from av.container import InputContainer

MAX_BAD_PACKETS = 1_000
"""Packets that fail to decode before a clip is given up. Each takes time and gives no frames to count."""

# FFmpeg's playlists (hls, concat, dash) open other files and addresses: only formats that hold their own audio.
OPTIONS = {
    "format_whitelist": "mov,matroska,webm,mp3,aac,amr,wav,w64,flac,ogg,aiff,caf,au,asf",
    "codec_whitelist": (
        "aac,alac,mp3float,mp3,mp2float,mp2,opus,vorbis,flac,amrnb,amrwb,ac3,eac3,wmav1,wmav2,gsm,gsm_ms,"
        "adpcm_ms,adpcm_ima_wav,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
        "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
    ),
}
CODECS = frozenset(OPTIONS["codec_whitelist"].split(","))
DTYPES: dict[str, npt.DTypeLike] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "flt": np.float32,
    "dbl": np.float64,
}

GUESSED_LENGTH = frozenset({"aac", "amr"})
"""Containers whose header holds no length. FFmpeg guesses one from the bit rate of the first frames, ten times too long
for a recording with a quiet start."""

av.logging.set_level(None)


def read(data: memoryview, limits: Limits) -> Waveform | None:
    """None where FFmpeg cannot open the clip. Raises AudioError."""
    try:
        container = av.open(ByteStream(data), mode="r", options=OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        return None
    with container:
        if not container.streams.audio:
            raise AudioError("no_audio_stream", "The file has no audio stream.")
        stream = container.streams.audio[0]
        decoder: AudioCodecContext | None = stream.codec_context
        if decoder is None or decoder.codec.name not in CODECS:
            raise AudioError("unrecognised", "The audio in the file is coded in a way that cannot be read.")
        budget = Budget(limits)
        if stream.rate and stream.channels:
            budget.check_format(stream.rate, stream.channels)
            if container.format.name not in GUESSED_LENGTH:
                seconds = _claimed_seconds(container, stream)
                budget.check_length(seconds, seconds * stream.rate * stream.channels * 4)
        frames = _frames(container, stream)
        first = next(frames, None)
        if first is None:
            return Waveform(np.empty(0, np.float32), budget.limits.min_rate)
        blocks = _blocks(itertools.chain([first], frames), first.sample_rate, budget)
        return Waveform(join(blocks), first.sample_rate)


def _claimed_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length by the header, 0 where it has none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """The frames that decode; a bad packet is left out, as a player leaves it out."""
    good = bad = 0
    packets = container.demux(stream)
    while bad < MAX_BAD_PACKETS:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.EOFError:
            break
        except av.FFmpegError:
            bad += 1
            continue
        good += len(frames)
        yield from frames
    if bad and not good:
        raise AudioError("corrupt", f"The clip cannot be decoded: none of its {bad} packets is intact.")


def _blocks(frames: Iterable[av.AudioFrame], rate: int, budget: Budget) -> Iterator[Samples]:
    """Mono blocks at `rate` Hz, the first frame's: a stream may change its rate and channels on the way."""
    for frame in frames:
        channels = frame.layout.nb_channels
        budget.check_format(frame.sample_rate, channels)
        block = resample(_mono(frame), frame.sample_rate, rate)
        budget.spend(len(block), rate, channels)
        yield block


def _mono(frame: av.AudioFrame) -> Samples:
    """Average of a frame's channels: integers are scaled to [-1, 1), floats are kept as they are.

    PyAV's `to_ndarray` reads past the eighth plane of a frame, and its resampler starts a thread for each core.
    """
    channels, planar = frame.layout.nb_channels, frame.format.is_planar
    planes, count = (channels, frame.samples) if planar else (1, frame.samples * channels)
    try:
        dtype = DTYPES[frame.format.packed.name]
        parts = [np.frombuffer(memoryview(plane), dtype, count) for plane in frame.planes[:planes]]
        data = parts[0][np.newaxis] if planes == 1 else np.stack(parts)
    except (KeyError, IndexError, ValueError):
        detail = f"The clip has frames that cannot be read: {channels} channels of {frame.format.name}."
        raise AudioError("corrupt", detail) from None
    if not planar:
        data = data.reshape(-1, channels).T
    with np.errstate(over="ignore"):
        samples = data.astype(np.float32)
    if data.dtype.kind == "f":
        return average(samples)
    full_scale = np.float32(2 ** (8 * data.itemsize - 1))
    if data.dtype.kind == "u":
        samples -= full_scale
    samples /= full_scale
    return average(samples)
