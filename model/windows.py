"""Waveform to windows. The same clip gives the same windows on every run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from model.config import Padding

Samples = npt.NDArray[np.float32]
Starts = npt.NDArray[np.int64]


def cut(samples: Samples, window: int, hop: int, padding: Padding) -> tuple[Samples, Starts]:
    """Cut a clip [n] into windows [k, window] that begin at `starts` [k], both in samples.

    Windows begin at 0, hop, 2 x hop, …; if samples remain, one more is aligned to the clip's end. A clip shorter
    than the window is padded: repeated and cut (`repeat`), repeated as often as it fits whole and followed by
    silence (`repeat_whole`), or followed by silence (`zero`). Nothing is cropped at random.
    Raises ValueError for an empty clip.
    """
    starts = window_starts(len(samples), window, hop)
    if len(samples) <= window:
        return pad(samples, window, padding)[np.newaxis], starts
    return np.lib.stride_tricks.sliding_window_view(samples, window)[starts], starts


def window_starts(length: int, window: int, hop: int) -> Starts:
    """The starts [k] of the windows of a clip of `length`, in samples. Raises ValueError for an empty clip."""
    if length == 0:
        raise ValueError("an empty clip has no windows")
    last = max(0, length - window)
    starts = np.arange(0, last + 1, hop, dtype=np.int64)
    return starts if starts[-1] == last else np.append(starts, last)


def pad(samples: Samples, window: int, padding: Padding) -> Samples:
    """A clip [n <= window] padded to one window [window]."""
    if padding == "repeat":
        return np.resize(samples, window)
    if padding == "repeat_whole":
        samples = np.tile(samples, window // len(samples))
    return np.pad(samples, (0, window - len(samples)))


def slice_windows(windows: Samples, starts: Starts, wanted: Starts) -> Samples:
    """The windows [n, window] that begin at `wanted` [n], copied from windows [k, window] that `cut` made at `starts`.

    Raises ValueError for a window that is not within the clip.
    """
    window = windows.shape[1]
    if len(wanted) and (wanted.min() < 0 or wanted.max() > starts[-1]):
        raise ValueError("a window outside of the clip")
    sliced = np.empty((len(wanted), window), np.float32)
    for row, start in enumerate(wanted):
        filled = 0
        while filled < window:
            source = int(np.searchsorted(starts, start + filled, side="right")) - 1
            offset = int(start) + filled - int(starts[source])
            count = min(window - filled, window - offset)
            sliced[row, filled : filled + count] = windows[source, offset : offset + count]
            filled += count
    return sliced


@dataclass(frozen=True)
class StreamWindow:
    """A window [samples], and the part of the stream that it holds, in samples."""

    samples: Samples
    start: int
    end: int


class WindowCutter:
    """Cuts a stream of samples into the windows that `cut` gives for all of it. Holds one window of samples."""

    def __init__(self, window: int, hop: int, padding: Padding) -> None:
        self._window = window
        self._hop = hop
        self._padding = padding
        self._held = np.empty(0, np.float32)
        self._start = 0
        self._next = 0

    @property
    def received(self) -> int:
        """How many samples the stream has had so far."""
        return self._start + len(self._held)

    def cut(self, samples: Samples) -> Iterator[StreamWindow]:
        """The windows that are complete with these samples [n], each made when it is asked for."""
        for at in range(0, len(samples), self._hop):
            self._held = np.concatenate([self._held, samples[at : at + self._hop]])
            while self._next + self._window <= self.received:
                first = self._next - self._start
                yield StreamWindow(
                    self._held[first : first + self._window].copy(), self._next, self._next + self._window
                )
                self._next += self._hop
            surplus = min(self._next - self._start, len(self._held) - self._window)
            if surplus > 0:
                self._held = self._held[surplus:]
                self._start += surplus

    def finish(self) -> Iterator[StreamWindow]:
        """The windows that are left at the end: the last one is aligned to it, and a short stream is padded."""
        end = self.received
        if 0 < end < self._window:
            yield StreamWindow(pad(self._held, self._window, self._padding), 0, end)
        elif end > self._window and self._next - self._hop + self._window < end:
            yield StreamWindow(self._held[-self._window :].copy(), end - self._window, end)
