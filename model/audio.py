"""Reading audio: bytes of any common format to one mono waveform, with every limit checked before memory is taken.

soundfile (libsndfile) reads wav, flac, ogg, opus, mp3, aiff and au; PyAV (FFmpeg) reads m4a, aac, mp4, webm, amr and
the rest. A header is never believed: it is checked against the limits, and what is then decoded is counted again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

av.logging.set_level(av.logging.PANIC)

Samples = npt.NDArray[np.float32]
Source = bytes | bytearray | memoryview | Path

BLOCK_FRAMES = 1 << 14


@dataclass(frozen=True)
class Limits:
    """What a clip may ask for. `max_decoded_bytes` bounds frames x channels x 4 bytes."""

    max_seconds: float = 600.0
    max_decoded_bytes: int = 256 << 20
    min_rate: int = 1_000
    max_rate: int = 384_000
    max_channels: int = 8


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


class Budget:
    """The limits for one stream: what its header claims is checked first, what it gives is counted."""

    def __init__(self, limits: Limits, rate: int, channels: int) -> None:
        if not limits.min_rate <= rate <= limits.max_rate:
            raise AudioError("rate", f"sample rate {rate} Hz is outside {limits.min_rate}-{limits.max_rate} Hz")
        if not 1 <= channels <= limits.max_channels:
            raise AudioError("channels", f"{channels} channels, where 1 to {limits.max_channels} are read")
        self.limits = limits
        self.rate = rate
        self.frame_bytes = 4 * channels
        self.frames = 0

    def check(self, frames: int) -> None:
        """Raise AudioError if a clip of `frames` is too long or would decode to too much."""
        seconds = frames / self.rate
        if seconds > self.limits.max_seconds:
            detail = f"the clip lasts {seconds:.0f} s, the limit is {self.limits.max_seconds:g} s"
            raise AudioError("too_long", detail, "audio_too_long")
        if frames * self.frame_bytes > self.limits.max_decoded_bytes:
            megabytes = frames * self.frame_bytes / 1e6
            detail = (
                f"the clip decodes to {megabytes:.0f} MB, the limit is {self.limits.max_decoded_bytes / 1e6:.0f} MB"
            )
            raise AudioError("too_large", detail, "audio_too_long")

    def spend(self, frames: int) -> None:
        self.frames += frames
        self.check(self.frames)


def read(source: Source, limits: Limits | None = None) -> Waveform:
    """Decode the whole clip and average its channels.

    A clip cut off in the middle gives what decodes. Raises AudioError for anything that is not usable audio or is
    over the limits, and OSError where `source` is a path that cannot be opened.
    """
    limits = limits or Limits()
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _read(file, source.stat().st_size, limits)
    return _read(io.BytesIO(source), len(source), limits)


def _read(file: io.BufferedIOBase | io.BytesIO, size: int, limits: Limits) -> Waveform:
    if size == 0:
        raise AudioError("empty", "the clip is empty: 0 bytes")
    try:
        waveform = _read_soundfile(file, limits)
    except soundfile.LibsndfileError:
        file.seek(0)
        waveform = _read_av(file, limits)
    if len(waveform.samples) == 0:
        raise AudioError("no_frames", "the clip holds no audio: 0 frames")
    if not np.isfinite(waveform.samples).all():
        raise AudioError("non_finite", "the clip has samples that are NaN or infinite")
    return waveform


def _read_soundfile(file: io.BufferedIOBase | io.BytesIO, limits: Limits) -> Waveform:
    """Raises LibsndfileError where libsndfile does not know the format."""
    with soundfile.SoundFile(file) as sound:
        budget = Budget(limits, sound.samplerate, sound.channels)
        # Some streams do not know their length and claim 2^63 - 1 frames; the block loop counts those.
        if sound.frames < (1 << 62):
            budget.check(sound.frames)
        blocks = list(_soundfile_blocks(sound, budget))
        return Waveform(_join(blocks), sound.samplerate)


def _soundfile_blocks(sound: soundfile.SoundFile, budget: Budget) -> Iterator[Samples]:
    while True:
        try:
            block = sound.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if budget.frames:
                return
            raise AudioError("corrupt", f"the clip cannot be decoded: {error.error_string}") from None
        if len(block) == 0:
            return
        budget.spend(len(block))
        yield _mono(block)


def _read_av(file: io.BufferedIOBase | io.BytesIO, limits: Limits) -> Waveform:
    try:
        with av.open(file, mode="r") as container:
            if not container.streams.audio:
                raise AudioError("no_audio_stream", "the file has no audio stream")
            stream = container.streams.audio[0]
            budget = Budget(limits, stream.rate or 0, stream.channels or 0)
            if stream.duration is not None and stream.time_base is not None:
                budget.check(int(stream.duration * stream.time_base * budget.rate))
            blocks = list(_av_blocks(container, stream, budget))
    except (av.FFmpegError, ValueError, OverflowError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError("unrecognised", "the clip is not audio in a format that is read here") from None
    return Waveform(_join(blocks), budget.rate)


def _av_blocks(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream, budget: Budget
) -> Iterator[Samples]:
    """Frames as mono float32. A stream that changes its rate on the way is brought to the rate it began with."""
    resampler = av.AudioResampler(format="fltp", rate=budget.rate)
    try:
        for frame in container.decode(stream):
            if frame.layout.nb_channels > budget.limits.max_channels:
                raise AudioError("channels", f"the stream changes to {frame.layout.nb_channels} channels")
            frame.pts = None
            for plain in resampler.resample(frame):
                budget.spend(plain.samples)
                yield _mono(plain.to_ndarray().T)
    except av.FFmpegError as error:
        if budget.frames == 0:
            raise AudioError("corrupt", f"the clip cannot be decoded: {error.strerror}") from None


def _mono(block: npt.NDArray[np.float32]) -> Samples:
    """Average of the channels: [frames, channels] -> [frames]."""
    if block.shape[1] == 1:
        return block[:, 0]
    mean: Samples = block.mean(axis=1, dtype=np.float32)
    return mean


def _join(blocks: list[Samples]) -> Samples:
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def resample(samples: Samples, rate: int, target: int) -> Samples:
    """Waveform [n] at `rate` -> [round(n x target / rate)] at `target` Hz (libsoxr, high quality)."""
    if rate == target or len(samples) == 0:
        return samples
    length = max(1, round(len(samples) * target / rate))
    out: Samples = soxr.resample(samples, rate, target, quality="HQ")
    if len(out) < length:
        out = np.pad(out, (0, length - len(out)), mode="edge" if len(out) else "constant")
    return np.ascontiguousarray(out[:length], dtype=np.float32)


def load(source: Source, rate: int, limits: Limits | None = None) -> Samples:
    """`read`, then `resample` to `rate` Hz."""
    waveform = read(source, limits)
    return resample(waveform.samples, waveform.rate, rate)
