"""Reading a recording of any length in blocks, in bounded memory: the samples of `load`, one block after the other."""

from __future__ import annotations

import itertools
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soxr

from model.audio import ffmpeg, ogg, sndfile, wav
from model.audio.downmix import Downmix, check_amplitude
from model.audio.errors import AudioError
from model.audio.formats import embedded, signature
from model.audio.limits import Budget, Limits
from model.audio.reading import refusal
from model.audio.tags import between_tags
from model.audio.waveform import Samples

RELEASE_BYTES = 64 << 20
"""Samples after which the pages of a mapped file are given back: they count as the process' memory."""

Blocks = tuple[int, Iterator[Samples]]
"""A sample rate in Hz, and mono blocks at that rate."""


class ChannelsCancel(Exception):
    """The average of the channels has cancelled out in part `part` of the recording: its loudest is `channel`.

    The blocks so far are void. Read again with `channels` extended by it.
    """

    def __init__(self, part: int, channel: int) -> None:
        super().__init__(f"the average of the channels cancels out; the loudest is channel {channel}")
        self.part, self.channel = part, channel


def stream(
    source: memoryview | Path, rate: int, limits: Limits, channels: Mapping[int, int] | None = None
) -> Iterator[Samples]:
    """Yield the mono samples of a recording at `rate` Hz in blocks; joined, they are what `load` gives.

    `limits` bound what is decoded, of which only a block is held. `channels` gives the channel to take, instead of the
    average, for parts of a chain (0 for a recording that is no chain). Raises AudioError, OSError, ChannelsCancel.
    """
    budget, taken = Budget(limits), channels or {}
    if isinstance(source, memoryview):
        yield from _stream(source, rate, budget, taken)
        return
    with source.open("rb") as file:
        if source.stat().st_size == 0:
            raise AudioError("empty", "The clip is empty: 0 bytes.")
        # Unmapped with its last view, which an error's traceback may hold.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    held = 0
    for block in _stream(memoryview(mapped), rate, budget, taken):
        yield block
        held += block.nbytes
        if held > RELEASE_BYTES:
            mapped.madvise(mmap.MADV_DONTNEED)
            held = 0


def _stream(data: memoryview, rate: int, budget: Budget, channels: Mapping[int, int]) -> Iterator[Samples]:
    if len(data) == 0:
        raise AudioError("empty", "The clip is empty: 0 bytes.")
    frames = 0
    for block in _decoded(data[between_tags(data)], rate, budget, channels):
        check_amplitude(block)
        frames += len(block)
        yield block
    if frames == 0:
        raise AudioError("no_frames", "The clip holds no audio: 0 frames.")


def _decoded(body: memoryview, rate: int, budget: Budget, channels: Mapping[int, int]) -> Iterator[Samples]:
    whole, parts = body, _parts(body)
    opened = _open_first(body, parts, budget, channels)
    if opened is None and (start := embedded(body)) is not None:
        body = body[start:]
        parts = _parts(body)
        opened = _open_first(body, parts, budget, channels)
    if opened is None:
        raise refusal(whole)
    first, native, blocks = opened
    resampler = Resampler(native, rate)
    yield from resampler.each(blocks)
    for number in range(first + 1, len(parts)):
        try:
            following = _open(body[parts[number]], number, budget, channels)
        except AudioError as error:
            if error.code == "audio_too_long":
                raise
            continue  # as in any damaged clip, the other parts are still read
        if following is not None:
            # As `read` does: each part is brought to the rate of the first, and all of them to `rate`.
            yield from resampler.each(Resampler(following[0], native).whole(following[1]))
    yield from resampler.end()


def _parts(data: memoryview) -> list[slice]:
    return ogg.links(data) if signature(data) == "Ogg" else [slice(None)]


def _open_first(
    data: memoryview, parts: list[slice], budget: Budget, channels: Mapping[int, int]
) -> tuple[int, int, Iterator[Samples]] | None:
    """The number of the first part that can be read, its rate and its blocks. None where no decoder opens any."""
    for number, position in enumerate(parts):
        part = data[position]
        try:
            opened = _open(part, number, budget, channels)
        except AudioError as error:
            if len(parts) == 1 or error.code == "audio_too_long":
                raise
            continue
        if opened is not None:
            return number, *opened
    return None


def _open(data: memoryview, number: int, budget: Budget, channels: Mapping[int, int]) -> Blocks | None:
    """A part's rate and blocks, by the decoder that `read` would take. None where none opens it."""
    before = budget.spent
    decoders: list[Callable[[memoryview, Budget, Downmix], Blocks | None]] = [wav.blocks]
    if signature(data) in sndfile.FORMATS and not sndfile.MP3_IN_WAV.match(data):
        decoders.append(sndfile.blocks)
    decoders.append(ffmpeg.blocks)
    empty: Blocks | None = None
    for decode in decoders:
        budget.spent = before
        downmix = Downmix(channels.get(number))
        opened = decode(data, budget, downmix)
        if opened is None:
            continue
        native, blocks = opened
        # The header of a streamed WAV says 0 bytes of data, and libsndfile believes it; FFmpeg reads to the end.
        first = next((block for block in blocks if len(block)), None)
        if first is None:
            empty = native, iter(())
            continue
        return native, _checked(itertools.chain([first], blocks), number, downmix)
    return empty


def _checked(blocks: Iterator[Samples], number: int, downmix: Downmix) -> Iterator[Samples]:
    yield from blocks
    if (channel := downmix.cancelled) is not None:
        raise ChannelsCancel(number, channel)


class Resampler:
    """Blocks at `rate` Hz to blocks at `target` Hz: together the samples of `resample`, to the bit."""

    def __init__(self, rate: int, target: int) -> None:
        self._rate, self._target = rate, target
        self._taken = self._given = 0
        self._last = np.float32(0)
        self._soxr = None if rate == target else soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")

    def each(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            self._taken += len(block)
            if self._soxr is None:
                yield block
            elif len(block):
                yield from self._counted(self._soxr.resample_chunk(np.ascontiguousarray(block), last=False))

    def end(self) -> Iterator[Samples]:
        """What the filter still holds, so that n samples become round(n x target / rate), at least 1."""
        if self._soxr is None or self._taken == 0:
            return
        yield from self._counted(self._soxr.resample_chunk(np.empty(0, np.float32), last=True))
        if (missing := self._length - self._given) > 0:
            yield np.full(missing, self._last, np.float32)

    def whole(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        yield from self.each(blocks)
        yield from self.end()

    @property
    def _length(self) -> int:
        return max(1, round(self._taken * self._target / self._rate))

    def _counted(self, samples: Samples) -> Iterator[Samples]:
        samples = samples[: max(0, self._length - self._given)]
        if len(samples):
            self._given += len(samples)
            self._last = samples[-1]
            yield samples
