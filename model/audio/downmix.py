"""From several channels to one: the average, or the loudest channel where the others cancel it out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from model.audio.errors import AudioError
from model.audio.limits import MAX_AMPLITUDE
from model.audio.waveform import Samples

CANCELLED = 0.1
"""The average cancels out below this share of the energy that it would have if the channels were independent.

For two channels of equal level that is a correlation below -0.9, which recordings only have where one is inverted.
"""


class Downmix:
    """Turns a clip's blocks of channels into mono, and adds up the energy that is lost by it.

    With `channel`, that channel is taken instead of the average.
    """

    def __init__(self, channel: int | None = None) -> None:
        self.channel = channel
        self.reset()

    def reset(self) -> None:
        """Reset the sums of energy."""
        self._energies = np.zeros(0)
        self._average_energy = 0.0

    def mono(self, channels: Samples) -> Samples:
        """[channels, frames] -> [frames]."""
        if self.channel is not None:
            taken: Samples = channels[min(self.channel, len(channels) - 1)]
            return taken
        mixed = average(channels)
        if len(channels) > 1:
            if len(channels) > len(self._energies):
                self._energies = np.pad(self._energies, (0, len(channels) - len(self._energies)))
            with np.errstate(over="ignore", invalid="ignore"):
                self._energies[: len(channels)] += [np.vdot(channel, channel) for channel in channels]
                self._average_energy += float(np.vdot(mixed, mixed))
        return mixed

    @property
    def cancelled(self) -> int | None:
        """The loudest channel if the average has cancelled out; None where the average is kept."""
        independent = self._energies.sum() / max(1, len(self._energies)) ** 2
        return int(self._energies.argmax()) if self._average_energy < CANCELLED * independent else None


def average(channels: Samples) -> Samples:
    """[channels, frames] -> [frames]. Channel by channel, which is six times faster than numpy's mean over them."""
    total: Samples = channels[0]
    if len(channels) > 1:
        with np.errstate(over="ignore", invalid="ignore"):
            total = channels[0] + channels[1]
            for channel in channels[2:]:
                total += channel
            total /= np.float32(len(channels))
    return total


def join(blocks: Iterable[Samples]) -> Samples:
    """Blocks one after the other. A bytearray grows in place, so that the clip is held once.

    Raises AudioError for samples that are not finite.
    """
    data = bytearray()
    for block in blocks:
        data += np.ascontiguousarray(block).data
    samples = np.frombuffer(data, np.float32)
    check_amplitude(samples)
    return samples


def check_amplitude(samples: Samples) -> None:
    """Raises AudioError for samples that are NaN, infinite or above MAX_AMPLITUDE."""
    # Written so that NaN fails it too.
    if len(samples) and not (samples.min() >= -MAX_AMPLITUDE and samples.max() <= MAX_AMPLITUDE):
        raise AudioError("non_finite", f"The clip has samples that are NaN, infinite or above {MAX_AMPLITUDE:g}.")
