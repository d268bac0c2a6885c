"""libsndfile (soundfile): WAV of any sample format, FLAC, Ogg, AIFF, AU and CAF."""

from __future__ import annotations

import re
from collections.abc import Iterator

import soundfile

from model.audio.byte_stream import ByteStream
from model.audio.downmix import Downmix, join
from model.audio.errors import AudioError
from model.audio.limits import Budget
from model.audio.waveform import Samples, Waveform

FORMATS = frozenset({"WAV", "FLAC", "Ogg", "AIFF", "AU", "CAF"})
"""The containers that libsndfile is given.

It also reads MP3, with an mpg123 that soundfile's wheel carries in a version open to CVE-2024-10573, and twenty formats
that are hardly in use. FFmpeg gets all of those, and MP3 inside WAV too.
"""
MP3_IN_WAV = re.compile(rb"RIF[FX].{8,4096}?fmt .{4}(?:\x55\x00|\x00\x55)", re.DOTALL)

BLOCK_FRAMES = 1 << 15
CAREFUL_FRAMES = 1 << 12
"""Block size of a second attempt after an error: the rest of a failed block is lost, so smaller blocks lose less."""

UNKNOWN_FRAMES = 1 << 62
"""A stream of unknown length claims 2^63 - 1 frames."""


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound read from front to back. soundfile seeks after each block of a seekable one, which decodes it twice."""

    def seekable(self) -> bool:
        return False


def read(data: memoryview, budget: Budget, downmix: Downmix) -> Waveform | None:
    """Decode a clip; None where libsndfile cannot open it. Raises AudioError."""
    before = budget.spent
    try:
        return _read(data, budget, downmix, BLOCK_FRAMES)
    except soundfile.LibsndfileError:
        budget.spent = before
        downmix.reset()
        return _read(data, budget, downmix, CAREFUL_FRAMES)


def blocks(data: memoryview, budget: Budget, downmix: Downmix) -> tuple[int, Iterator[Samples]] | None:
    """The rate of a clip in Hz and its samples in blocks; None where libsndfile cannot open it. Raises AudioError."""
    sound = _open(data)
    if sound is None:
        return None
    claimed = _claimed(sound, budget)

    def decoded() -> Iterator[Samples]:
        with sound:
            yield from _blocks(sound, claimed, budget, downmix, CAREFUL_FRAMES)

    return sound.samplerate, decoded()


def _read(data: memoryview, budget: Budget, downmix: Downmix, block_frames: int) -> Waveform | None:
    sound = _open(data)
    if sound is None:
        return None
    with sound:
        claimed = _claimed(sound, budget)
        return Waveform(join(_blocks(sound, claimed, budget, downmix, block_frames)), sound.samplerate)


def _open(data: memoryview) -> soundfile.SoundFile | None:
    try:
        return _Stream(ByteStream(data))
    except soundfile.LibsndfileError:
        return None


def _claimed(sound: soundfile.SoundFile, budget: Budget) -> int:
    """The frames that the header claims, 0 where it does not say. Raises AudioError."""
    budget.check_format(sound.samplerate, sound.channels)
    # An Ogg stream's length is its last page's time, which a recording of a broadcast counts from the broadcast's
    # start.
    known = sound.format != "OGG" and sound.frames < UNKNOWN_FRAMES
    claimed: int = sound.frames if known else 0
    budget.check_length(claimed / sound.samplerate, 4.0 * claimed * sound.channels)
    return claimed


def _blocks(
    sound: soundfile.SoundFile, claimed: int, budget: Budget, downmix: Downmix, block_frames: int
) -> Iterator[Samples]:
    """Mono blocks up to the end. An error after the `claimed` frames have decoded counts as the end."""
    decoded = 0
    while True:
        # The last block ends with the claimed frames, so that what follows them cannot spoil it.
        wanted = min(block_frames, claimed - decoded) if decoded < claimed else block_frames
        try:
            block = sound.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            if 0 < claimed <= decoded:
                return
            if block_frames > CAREFUL_FRAMES:
                raise
            if decoded:
                return
            raise AudioError("corrupt", f"The clip cannot be decoded: {error.error_string}") from None
        if len(block) == 0:
            return
        decoded += len(block)
        budget.spend(len(block), sound.samplerate, sound.channels)
        yield downmix.mono(block.T)
