"""A few seconds of an item, as MP3 that every browser plays."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import soundfile

from bulk.item import Item
from bulk.reading import opened
from bulk.setup import ReaderSetup
from model.audio import ChannelsCancel, Limits, Samples, stream

RATE = 32_000
LIMITS = Limits(max_seconds=24 * 3600.0, max_decoded_bytes=1 << 50)


def excerpt(item: Item, start_s: float, seconds: float) -> bytes:
    """`seconds` of an item from `start_s` on. Raises AudioError, FetchError, OSError."""
    setup = ReaderSetup(RATE, RATE, RATE, "zero")
    with opened(item, setup) as (source, _):
        data = memoryview(source) if isinstance(source, bytes) else source
        blocks: list[Samples] = []
        read, first, last = 0, round(start_s * RATE), round((start_s + seconds) * RATE)
        try:
            for block in stream(data, RATE, LIMITS):
                blocks.append(block[max(0, first - read) : max(0, last - read)])
                read += len(block)
                if read >= last:
                    break
        except ChannelsCancel:
            pass  # the average of the channels is quiet, and is played as it is
    file = io.BytesIO()
    soundfile.write(file, _bounded(blocks), RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


def _bounded(blocks: Sequence[Samples]) -> Samples:
    """The blocks as one, scaled down where they would clip."""
    samples = np.concatenate([*blocks, np.zeros(1, np.float32)])
    peak = max(1.0, float(np.abs(samples).max()))
    return (samples / peak).astype(np.float32)
