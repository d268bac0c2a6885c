"""Where in a recording each label is heard: stretches of windows whose sigmoid score is above a threshold. NumPy only.

A window that scores above the threshold says that the sound is somewhere in it. With overlapping windows, the place
follows from when the score begins to rise: the sound begins in the part that a window has and the one before it has
not, and ends in the part that a window has and the one after it has not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RISE = 0.2
"""The sound begins where the score has risen by this share of the way from its low before the stretch to its high in
it, both as log-odds and within a window's length. Chosen on mixtures of training recordings (`benchmarks.events`)."""
CERTAIN = 1e-12
"""Scores closer than this to 0 or 1 have the log-odds of this one."""


@dataclass(frozen=True)
class Event:
    """A stretch in which a label is heard: times in seconds, and the highest score of its windows."""

    label: int
    start_s: float
    end_s: float
    score: float


@dataclass
class _Open:
    """A stretch whose end is not known yet: its start, and its highest log-odds before window `seen`."""

    start_s: float
    peak: float
    seen: int


class EventFinder:
    """Finds the events of windows of `window_s` seconds that are fed in the order of time, about one every `hop_s`.

    `thresholds` [labels] are compared with sigmoid scores. Memory is that of two window lengths of scores.
    """

    def __init__(self, thresholds: Sequence[float] | Array, window_s: float, hop_s: float) -> None:
        self._thresholds = np.asarray(thresholds, np.float64)
        self._window_s = window_s
        self._hop_s = hop_s
        self._reach = max(1, math.ceil(window_s / hop_s - 1e-9))
        self._starts = np.empty(0)
        self._odds = np.empty((0, len(self._thresholds)))
        self._above = np.empty((0, len(self._thresholds)), np.bool_)
        self._dropped = 0
        self._settled = 0
        self._open: dict[int, _Open] = {}

    def feed(self, starts_s: Sequence[float] | Array, scores: Array) -> list[Event]:
        """Add windows that begin at `starts_s` [k] and have `scores` [k, labels]; returns the events that are complete.

        An event is complete once windows of one window's length follow its last window.
        """
        self._add(starts_s, scores)
        return self._settle(self._dropped + len(self._starts) - self._reach, end_s=None)

    def finish(self, duration_s: float) -> list[Event]:
        """The events that are left when the recording of `duration_s` ends."""
        return self._settle(self._dropped + len(self._starts), end_s=duration_s)

    def break_off(self, end_s: float) -> list[Event]:
        """End all open events at `end_s`, since the windows that follow are missing. Later windows begin anew."""
        events = self._settle(self._dropped + len(self._starts), end_s=end_s)
        self._dropped = self._settled = self._dropped + len(self._starts)
        self._starts, self._odds, self._above = self._starts[:0], self._odds[:0], self._above[:0]
        return events

    def _add(self, starts_s: Sequence[float] | Array, scores: Array) -> None:
        likely = np.clip(scores, CERTAIN, 1 - CERTAIN)
        self._starts = np.concatenate([self._starts, np.asarray(starts_s, np.float64)])
        self._odds = np.concatenate([self._odds, np.log(likely) - np.log1p(-likely)])
        self._above = np.concatenate([self._above, scores > self._thresholds])

    def _settle(self, until: int, end_s: float | None) -> list[Event]:
        """The events that end before window `until`, all of whose neighbours within a window's length are known."""
        if until <= self._settled:
            return []
        first, last = self._settled - self._dropped, until - self._dropped
        above = self._above
        before = np.zeros_like(above)
        before[1:] = above[:-1]
        after = np.zeros_like(above)
        after[:-1] = above[1:]
        begins, ends = (above & ~before)[first:last], (above & ~after)[first:last]
        events = []
        for at, label in np.argwhere(begins | ends):
            window = first + int(at)
            if begins[at, label]:
                self._open[int(label)] = _Open(self._begin(window, int(label)), -math.inf, window)
            if ends[at, label]:
                events.append(self._close(window, int(label), end_s))
        for label, stretch in self._open.items():
            stretch.peak = max(stretch.peak, self._odds[stretch.seen : last, label].max(initial=-math.inf))
        self._settled = until
        self._forget(until)
        return sorted(events, key=lambda event: (event.start_s, event.label))

    def _close(self, window: int, label: int, end_s: float | None) -> Event:
        stretch = self._open.pop(label)
        peak = max(stretch.peak, float(self._odds[stretch.seen : window + 1, label].max()))
        start, end = stretch.start_s, self._end(window, label, end_s)
        if end <= start:  # shorter than the windows can tell
            middle = (start + end) / 2
            start, end = max(0.0, middle - self._hop_s / 2), middle + self._hop_s / 2
            end = end if end_s is None else min(end, end_s)
        return Event(label, start, end, 1 / (1 + math.exp(-peak)))

    def _begin(self, window: int, label: int) -> float:
        """Where the sound of the stretch that begins with `window` begins."""
        at = _risen(self._odds[max(0, window - self._reach) : window + self._reach, label], min(window, self._reach))
        at += max(0, window - self._reach)
        if at == 0:
            return float(self._starts[0])
        return float(max(self._starts[at - 1] + self._window_s, self._starts[at]))

    def _end(self, window: int, label: int, end_s: float | None) -> float:
        """Where the sound of the stretch that ends with `window` ends; `end_s` is where the recording does."""
        odds = self._odds[max(0, window - self._reach + 1) : window + self._reach + 1, label][::-1]
        follow = min(self._reach, len(self._starts) - 1 - window)
        at = window + follow - _risen(odds, follow)
        end = float(self._starts[at]) + self._window_s
        if at + 1 < len(self._starts):
            return min(end, float(self._starts[at + 1]))
        return end if end_s is None else min(end, end_s)

    def _forget(self, until: int) -> None:
        """Drop windows that no later event can need."""
        surplus = until - 2 * self._reach - self._dropped
        if surplus <= 0:
            return
        self._starts, self._odds, self._above = self._starts[surplus:], self._odds[surplus:], self._above[surplus:]
        self._dropped += surplus
        for stretch in self._open.values():
            stretch.seen = until - self._dropped


def _risen(odds: Array, first: int) -> int:
    """The window at which a sound is first heard, given that the score is above the threshold from `first` on.

    `odds` has the windows in the direction of the sound, those before `first` included.
    """
    before = odds[: first + 1]
    lowest = int(before.argmin())
    bound = before[lowest] + RISE * (odds[first:].max() - before[lowest])
    at = first
    while at > lowest and odds[at - 1] > bound:
        at -= 1
    return at


def find_events(
    starts_s: Sequence[float] | Array,
    scores: Array,
    thresholds: Sequence[float] | Array,
    window_s: float,
    hop_s: float,
    duration_s: float,
) -> Iterator[Event]:
    """The events of a whole recording in the order of time. Arguments as for `EventFinder`."""
    finder = EventFinder(thresholds, window_s, hop_s)
    events = [*finder.feed(starts_s, scores), *finder.finish(duration_s)]
    yield from sorted(events, key=lambda event: (event.start_s, event.label))


def count_stretches(scores: Array, thresholds: Sequence[float] | Array) -> int:
    """How many events windows with `scores` [k, labels] have."""
    above = scores > np.asarray(thresholds)
    return int(above[0].sum() + (above[1:] & ~above[:-1]).sum()) if len(above) else 0
