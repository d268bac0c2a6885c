"""libsndfile (soundfile): WAV of any sample format, FLAC, Ogg, AIFF and AU."""

from __future__ import annotations

import re
from collections.abc import Iterator

import soundfile

from model.audio.byte_stream import ByteStream
from model.audio.downmix import average, join
from model.audio.errors import AudioError
from model.audio.limits import Budget, Limits
from model.audio.waveform import Samples, Waveform

FORMATS = frozenset({"WAV", "FLAC", "Ogg", "AIFF", "AU"})
"""The containers that libsndfile is given.

It also reads MP3, with an mpg123 that soundfile's wheel carries in a version open to CVE-2024-10573, and twenty formats
that are hardly in use. FFmpeg gets all of those, and MP3 inside WAV too.
"""
MP3_IN_WAV = re.compile(rb"fmt .{4}\x55\x00", re.DOTALL)

BLOCK_FRAMES = 1 << 15
CAREFUL_FRAMES = 1 << 12
"""Block size of a second attempt after an error: the rest of a failed block is lost, so smaller blocks lose less."""


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound read from front to back. soundfile seeks after each block of a seekable one, which decodes it twice."""

    def seekable(self) -> bool:
        return False


def read(data: memoryview, limits: Limits, block_frames: int = BLOCK_FRAMES) -> Waveform | None:
    """None where libsndfile cannot open the clip. Raises AudioError."""
    try:
        sound = _Stream(ByteStream(data))
    except soundfile.LibsndfileError:
        return None
    with sound:
        budget = Budget(limits)
        budget.check_format(sound.samplerate, sound.channels)
        # A stream of unknown length says 2^63 - 1 frames; it is counted as it is read.
        if sound.frames < 1 << 62:
            budget.check_length(sound.frames / sound.samplerate, 4.0 * sound.frames * sound.channels)
        try:
            return Waveform(join(_blocks(sound, budget, block_frames)), sound.samplerate)
        except soundfile.LibsndfileError:
            return read(data, limits, CAREFUL_FRAMES)


def _blocks(sound: soundfile.SoundFile, budget: Budget, block_frames: int) -> Iterator[Samples]:
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
        yield average(block.T)
