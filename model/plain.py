"""Clips that need no decoder: mono WAV of 16-bit integers, of which the header says where the samples lie.

Their header is read by a few lines of Python, and their samples are passed on as they are: no code of a codec sees
them, so no sandbox is needed. The engine resamples them.
"""

from __future__ import annotations

import numpy as np

from model.audio import Limits, wav
from model.audio.limits import Budget
from model.native import Integers, ratio


def is_one_window(data: bytes | bytearray, rate: int, samples: int) -> bool:
    """Whether a clip needs no decoder and has a single window of `samples` at the model's `rate` in Hz."""
    with memoryview(data) as view:
        pcm = wav.plain_pcm(view)
    return pcm is not None and _needs_no_decoder(pcm, rate) and pcm.frames * rate <= samples * pcm.rate


def _needs_no_decoder(pcm: wav.Pcm, rate: int) -> bool:
    return pcm.channels == 1 and pcm.dtype.kind == "i" and ratio(pcm.rate, rate) is not None


def read(data: bytes | bytearray, rate: int, limits: Limits) -> Integers | None:
    """A clip's samples, which share its memory, for a model at `rate` Hz; None for a clip that needs a decoder.

    Raises AudioError.
    """
    with memoryview(data) as view:
        pcm = wav.plain_pcm(view)
    if pcm is None or not _needs_no_decoder(pcm, rate):
        return None
    budget = Budget(limits)
    budget.check_format(pcm.rate, pcm.channels)
    budget.spend(pcm.frames, pcm.rate, pcm.channels)
    return Integers(np.frombuffer(data, "<i2", pcm.frames, pcm.start), pcm.rate)
