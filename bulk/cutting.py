"""Windows of a recording that arrives in blocks: those of `model.windows.cut`, for one or two hops at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.windows import Samples, pad, window_starts

if TYPE_CHECKING:
    from model.config import Padding

SCORES, EVENTS = 1, 2
"""What a window is for: the item's scores, its events, or both."""


@dataclass(frozen=True)
class Piece:
    """Consecutive samples with the windows in them: (first sample of the window, counted from `at`; what it is for).

    `at` is the position of the piece in the recording, in samples.
    """

    at: int
    samples: Samples
    windows: tuple[tuple[int, int], ...]


def windows_of(length: int, window: int, hop: int, event_hop: int | None) -> tuple[tuple[int, int], ...]:
    """The windows of a recording that is there as a whole, as in `Piece`."""
    purposes: dict[int, int] = {}
    for purpose, each in _hops(hop, event_hop).items():
        for start in window_starts(length, window, each).tolist():
            purposes[start] = purposes.get(start, 0) | purpose
    return tuple(sorted(purposes.items()))


def _hops(hop: int, event_hop: int | None) -> dict[int, int]:
    return {SCORES: hop} if event_hop is None else {SCORES: hop, EVENTS: event_hop}


class Cutter:
    """Cuts a recording into pieces of at most `capacity` samples, which is at least a window."""

    def __init__(self, window: int, hop: int, event_hop: int | None, padding: Padding, capacity: int) -> None:
        self._window, self._padding, self._capacity = window, padding, capacity
        self._hops = _hops(hop, event_hop)
        self.length = 0
        """The samples of the recording so far."""

    def pieces(self, blocks: Iterable[Samples]) -> Iterator[Piece]:
        """Nothing for a recording without samples."""
        due = dict.fromkeys(self._hops, 0)
        held: list[Samples] = []
        at = 0
        for block in blocks:
            held.append(block)
            self.length += len(block)
            if self.length - at >= 2 * self._capacity:
                buffer = np.concatenate(held) if len(held) > 1 else held[0]
                yield from self._full(buffer, at, due, ends=False)
                start = min(*due.values(), self.length - self._window)  # the last window may begin before those due
                held, at = [buffer[start - at :]], start
        if self.length == 0:
            return
        buffer = np.concatenate(held) if len(held) > 1 else held[0]
        if self.length <= self._window:
            yield Piece(0, pad(buffer, self._window, self._padding), ((0, sum(self._hops)),))
            return
        yield from self._full(buffer, at, due, ends=True)

    def _full(self, buffer: Samples, at: int, due: dict[int, int], *, ends: bool) -> Iterator[Piece]:
        """The pieces with every whole window of `buffer`, whose first sample is number `at`. Moves `due` on."""
        last = self.length - self._window
        starts: dict[int, int] = {}
        for purpose, hop in self._hops.items():
            while due[purpose] <= last:
                starts[due[purpose]] = starts.get(due[purpose], 0) | purpose
                due[purpose] += hop
            if ends and due[purpose] - hop != last:
                starts[last] = starts.get(last, 0) | purpose
        group: list[tuple[int, int]] = []
        for start in sorted(starts):
            if group and start + self._window - group[0][0] > self._capacity:
                yield self._piece(buffer, at, group)
                group = []
            group.append((start, starts[start]))
        if group:
            yield self._piece(buffer, at, group)

    def _piece(self, buffer: Samples, at: int, group: list[tuple[int, int]]) -> Piece:
        first, end = group[0][0], group[-1][0] + self._window
        return Piece(first, buffer[first - at : end - at], tuple((start - first, purpose) for start, purpose in group))
