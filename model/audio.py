"""Reading audio: bytes of any common format to one mono waveform, with every limit checked before memory is taken.

A plain wav is taken from its bytes (`model.wav`); libsndfile (soundfile) reads every other wav, flac, ogg, opus, aiff
and au; FFmpeg (PyAV) reads mp3, m4a, aac, mp4, webm, mkv, amr and what libsndfile refuses. A header is never believed:
it is checked against the limits, and what is then decoded is counted again.
"""

from __future__ import annotations

import io
import itertools
import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from model.wav import plain_pcm

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.stream import AudioStream
    from av.container import InputContainer

Samples = npt.NDArray[np.float32]
Source = bytes | bytearray | memoryview | Path

BLOCK_FRAMES = 1 << 15
CAREFUL_FRAMES = 1 << 12
"""libsndfile decodes so many at a time, the fewer where it failed: a failure costs what was decoded of its block."""

PCM_BLOCK_FRAMES = 1 << 14
"""Converted at a time: a block of it stays in the cache."""

# The spectrum of anything louder overflows float32. Full scale is 1; files that hold integers as floats reach 2^31.
MAX_AMPLITUDE = 1e12

# A stream whose packets cannot be decoded is given up here; each costs time and spends no budget.
MAX_BAD_PACKETS = 1_000

SIGNATURES = (
    (0, b"RIFF", "WAV"),
    (0, b"RF64", "WAV"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "Ogg"),
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (4, b"ftyp", "MP4"),
    (0, b"\x1aE\xdf\xa3", "WebM"),
    (0, b"#!AMR", "AMR"),
    (0, b"ID3", "MP3"),
)

# libsndfile also reads mp3, with an mpg123 that soundfile's wheel carries in a version open to CVE-2024-10573, and
# twenty formats that nobody sends. Neither is given a chance: the rest goes to FFmpeg, and so does mp3 inside wav.
SNDFILE_FORMATS = frozenset({"WAV", "FLAC", "Ogg", "AIFF", "AU"})
MP3_IN_WAV = re.compile(rb"fmt .{4}\x55\x00", re.DOTALL)

# FFmpeg's playlists (hls, concat, dash) open other files and addresses: only formats that hold their own audio.
FFMPEG_OPTIONS = {
    "format_whitelist": "mov,matroska,webm,mp3,aac,amr,wav,w64,flac,ogg,aiff,caf,au,asf",
    "codec_whitelist": (
        "aac,alac,mp3float,mp3,mp2float,mp2,opus,vorbis,flac,amrnb,amrwb,ac3,eac3,wmav1,wmav2,gsm,gsm_ms,"
        "adpcm_ms,adpcm_ima_wav,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,"
        "pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,pcm_alaw,pcm_mulaw"
    ),
}
FFMPEG_CODECS = frozenset(FFMPEG_OPTIONS["codec_whitelist"].split(","))
FFMPEG_DTYPES: dict[str, npt.DTypeLike] = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "flt": np.float32,
    "dbl": np.float64,
}

# These have no header that holds a length: FFmpeg guesses one from the first frames' bit rate, ten times too long for
# a recording with a quiet start.
GUESSED_LENGTH = frozenset({"aac", "amr"})

av.logging.set_level(None)


@dataclass(frozen=True)
class Limits:
    """What a clip may ask for. `max_decoded_bytes` bounds frames x channels x 4 bytes; rates are in Hz."""

    max_seconds: float = 600.0
    max_decoded_bytes: int = 256 << 20
    min_rate: int = 1_000
    max_rate: int = 384_000
    max_channels: int = 8

    def __post_init__(self) -> None:
        if self.max_channels > 8:
            raise ValueError("max_channels is above 8, where PyAV reads past the planes of a frame")


class AudioError(ValueError):
    """A clip that cannot be used.

    `code` is the HTTP contract's (`unsupported_audio`, `audio_too_long`), `reason` a short slug that a metric can
    carry, the message a sentence for the person who sent the clip.
    """

    def __init__(self, reason: str, detail: str, code: str = "unsupported_audio") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.code = code

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.reason, self.detail, self.code)


@dataclass(frozen=True)
class Waveform:
    """Mono float32 `samples` [n] at `rate` Hz."""

    samples: Samples
    rate: int

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.rate


def read(source: Source, limits: Limits | None = None) -> Waveform:
    """Decode the whole clip and average its channels.

    A clip that is cut off or damaged in the middle gives what decodes. Raises AudioError for anything that is not
    usable audio or is over the limits, and OSError where `source` is a path that cannot be opened.
    """
    limits = limits or Limits()
    if not isinstance(source, Path):
        with memoryview(source) as view, view.cast("B") as data:
            return _read(data, limits)
    with source.open("rb") as file:
        if file.seek(0, io.SEEK_END) == 0:
            return _read(memoryview(b""), limits)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return _read(data, limits)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Waveform [n] at `rate` Hz -> [round(n x target / rate), at least 1] at `target` Hz (libsoxr, high quality)."""
    if rate == target or len(samples) == 0:
        return samples
    length = max(1, round(len(samples) * target / rate))
    out: Samples = soxr.resample(samples, rate, target, quality="HQ")
    if len(out) < length:
        out = np.pad(out, (0, length - len(out)), mode="edge") if len(out) else np.resize(samples, length)
    return out[:length]


def load(source: Source, rate: int, limits: Limits | None = None) -> Samples:
    """`read`, then `resample` to `rate` Hz."""
    waveform = read(source, limits)
    return resample(waveform.samples, waveform.rate, rate)


class _Reader(io.RawIOBase):
    """A file over a memoryview: nothing is copied, and a decoder that seeks outside it is put at an edge.

    An exception in a decoder's callback would be printed and lost.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = min(max(base + offset, 0), len(self._data))
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view, view.cast("B") as out:
            chunk = self._data[self._position : self._position + len(out)]
            out[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)


class _Budget:
    """The limits for one clip: what its header claims is checked, what it then gives is counted."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.frames = 0
        self.bytes = 0

    def check_format(self, rate: int, channels: int) -> None:
        low, high = self.limits.min_rate, self.limits.max_rate
        if not low <= rate <= high:
            raise AudioError("rate", f"The sample rate is {rate} Hz; {low} to {high} Hz can be read.")
        if not 1 <= channels <= self.limits.max_channels:
            raise AudioError(
                "channels", f"The clip has {channels} channels; 1 to {self.limits.max_channels} can be read."
            )

    def check_length(self, seconds: float, decoded_bytes: float) -> None:
        if seconds > self.limits.max_seconds:
            detail = f"The clip lasts {seconds:.1f} s or more; the limit is {self.limits.max_seconds:g} s."
            raise AudioError("too_long", detail, "audio_too_long")
        if decoded_bytes > self.limits.max_decoded_bytes:
            limit = self.limits.max_decoded_bytes / 2**20
            detail = f"The clip decodes to {decoded_bytes / 2**20:.1f} MiB or more; the limit is {limit:g} MiB."
            raise AudioError("too_large", detail, "audio_too_long")

    def spend(self, frames: int, rate: int, channels: int) -> None:
        self.frames += frames
        self.bytes += 4 * frames * channels
        self.check_length(self.frames / rate, self.bytes)


def _read(data: memoryview, limits: Limits) -> Waveform:
    if len(data) == 0:
        raise AudioError("empty", "The clip is empty: 0 bytes.")
    signature = next((name for at, magic, name in SIGNATURES if data[at : at + len(magic)] == magic), None)
    waveform = _read_pcm(data, limits)
    if waveform:
        return waveform
    if signature in SNDFILE_FORMATS and not (signature == "WAV" and MP3_IN_WAV.search(data)):
        waveform = _read_sndfile(data, limits)
    # Streamed wav headers say 0 bytes of data, and libsndfile believes them; FFmpeg reads to the end.
    if waveform is None or len(waveform.samples) == 0:
        waveform = _read_ffmpeg(data, limits) or waveform
    if waveform is None and signature:
        detail = f"The clip begins as {signature}, but its header is cut short or damaged ({len(data)} bytes)."
        raise AudioError("truncated_header", detail)
    if waveform is None:
        raise AudioError("unrecognised", f"The clip is not audio in any format that can be read ({len(data)} bytes).")
    if len(waveform.samples) == 0:
        raise AudioError("no_frames", "The clip holds no audio: 0 frames.")
    return waveform


def _read_pcm(data: memoryview, limits: Limits) -> Waveform | None:
    """A plain WAV, sample for sample what libsndfile gives and at a tenth of its cost; None for any other clip."""
    pcm = plain_pcm(data)
    if pcm is None:
        return None
    budget = _Budget(limits)
    budget.check_format(pcm.rate, pcm.channels)
    budget.spend(pcm.frames, pcm.rate, pcm.channels)
    samples = np.empty(pcm.frames, np.float32)
    _convert(pcm.values(data), samples)
    if pcm.dtype.kind == "f":
        _check_amplitude(samples)
    return Waveform(samples, pcm.rate)


def _convert(values: npt.NDArray[np.int16 | np.float32], samples: Samples) -> None:
    """Values [frames, channels] -> their average, in `samples` [frames]; integers are scaled to [-1, 1)."""
    scale = np.float32(1 / 32768 if values.dtype.kind == "i" else 1)
    with np.errstate(invalid="ignore"):
        for start in range(0, len(values), PCM_BLOCK_FRAMES):
            block = np.multiply(values[start : start + PCM_BLOCK_FRAMES].T, scale, dtype=np.float32)
            samples[start : start + PCM_BLOCK_FRAMES] = _average(block)


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound read from front to back. soundfile seeks after every block of a seekable one, which costs a decode."""

    def seekable(self) -> bool:
        return False


def _read_sndfile(data: memoryview, limits: Limits, block_frames: int = BLOCK_FRAMES) -> Waveform | None:
    """None where libsndfile cannot open the clip."""
    try:
        sound = _Stream(_Reader(data))
    except soundfile.LibsndfileError:
        return None
    with sound:
        budget = _Budget(limits)
        budget.check_format(sound.samplerate, sound.channels)
        # A stream of unknown length says 2^63 - 1 frames; it is counted as it is read.
        if sound.frames < 1 << 62:
            budget.check_length(sound.frames / sound.samplerate, 4.0 * sound.frames * sound.channels)
        try:
            return Waveform(_join(_sndfile_blocks(sound, budget, block_frames)), sound.samplerate)
        except soundfile.LibsndfileError:
            return _read_sndfile(data, limits, CAREFUL_FRAMES)


def _sndfile_blocks(sound: soundfile.SoundFile, budget: _Budget, block_frames: int) -> Iterator[Samples]:
    while True:
        try:
            block = sound.read(block_frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if block_frames > CAREFUL_FRAMES:
                raise
            if budget.frames:
                return
            raise AudioError("corrupt", f"The clip cannot be decoded: {error.error_string}") from None
        if len(block) == 0:
            return
        budget.spend(len(block), sound.samplerate, sound.channels)
        yield _average(block.T)


def _read_ffmpeg(data: memoryview, limits: Limits) -> Waveform | None:
    """None where FFmpeg cannot open the clip."""
    try:
        container = av.open(_Reader(data), mode="r", options=FFMPEG_OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, ValueError):
        return None
    with container:
        if not container.streams.audio:
            raise AudioError("no_audio_stream", "The file has no audio stream.")
        stream = container.streams.audio[0]
        decoder: AudioCodecContext | None = stream.codec_context
        if decoder is None or decoder.codec.name not in FFMPEG_CODECS:
            raise AudioError("unrecognised", "The audio in the file is coded in a way that cannot be read.")
        budget = _Budget(limits)
        if stream.rate and stream.channels:
            budget.check_format(stream.rate, stream.channels)
            if container.format.name not in GUESSED_LENGTH:
                seconds = _claimed_seconds(container, stream)
                budget.check_length(seconds, seconds * stream.rate * stream.channels * 4)
        frames = _ffmpeg_frames(container, stream)
        first = next(frames, None)
        if first is None:
            return Waveform(np.empty(0, np.float32), budget.limits.min_rate)
        blocks = _ffmpeg_blocks(itertools.chain([first], frames), first.sample_rate, budget)
        return Waveform(_join(blocks), first.sample_rate)


def _claimed_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length by the header, 0 where it has none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _ffmpeg_frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
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


def _ffmpeg_blocks(frames: Iterable[av.AudioFrame], rate: int, budget: _Budget) -> Iterator[Samples]:
    """Mono blocks at `rate` Hz, the first frame's: a stream may change its rate and channels on the way."""
    for frame in frames:
        channels = frame.layout.nb_channels
        budget.check_format(frame.sample_rate, channels)
        block = resample(_mono(frame), frame.sample_rate, rate)
        budget.spend(len(block), rate, channels)
        yield block


def _mono(frame: av.AudioFrame) -> Samples:
    """Average of a frame's channels: integers are scaled to [-1, 1), floats are kept as they are.

    Not by PyAV's `to_ndarray`, which takes eight planes for nine and reads an address that is none, nor by its
    resampler, which starts a thread for every core.
    """
    channels, planar = frame.layout.nb_channels, frame.format.is_planar
    planes, count = (channels, frame.samples) if planar else (1, frame.samples * channels)
    try:
        dtype = FFMPEG_DTYPES[frame.format.packed.name]
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
        return _average(samples)
    full_scale = np.float32(2 ** (8 * data.itemsize - 1))
    if data.dtype.kind == "u":
        samples -= full_scale
    samples /= full_scale
    return _average(samples)


def _average(channels: Samples) -> Samples:
    """[channels, frames] -> [frames]. Channel by channel: numpy's mean goes frame by frame, six times slower."""
    total: Samples = channels[0]
    if len(channels) > 1:
        with np.errstate(over="ignore", invalid="ignore"):
            total = channels[0] + channels[1]
            for channel in channels[2:]:
                total += channel
            total /= np.float32(len(channels))
    return total


def _join(blocks: Iterable[Samples]) -> Samples:
    """Blocks in a row. A bytearray grows in place: the clip is held once, and never more of it than has decoded."""
    data = bytearray()
    for block in blocks:
        data += np.ascontiguousarray(block).data
    samples = np.frombuffer(data, np.float32)
    _check_amplitude(samples)
    return samples


def _check_amplitude(samples: Samples) -> None:
    # Written so that NaN fails it too.
    if len(samples) and not (samples.min() >= -MAX_AMPLITUDE and samples.max() <= MAX_AMPLITUDE):
        raise AudioError("non_finite", f"The clip has samples that are NaN, infinite or above {MAX_AMPLITUDE:g}.")
