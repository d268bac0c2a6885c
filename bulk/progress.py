"""How far a run is: one bar on a terminal, one line an interval elsewhere."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bulk.scoring import ScoredItem

INTERVAL_S = 30.0
SPAN_S = 60.0
"""Speeds are those of the last minute."""


class RunProgress:
    """Counts the items of a run. `total` are those to do, without those that were done before."""

    def __init__(self, total: int, console: Console, interval_s: float = INTERVAL_S) -> None:
        self._total, self._console, self._interval_s = total, console, interval_s
        self.items = self.errors = 0
        self.audio_s = 0.0
        self._began = self._said = time.monotonic()
        self._marks: deque[tuple[float, int, float]] = deque([(self._began, 0, 0.0)])
        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> RunProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def count(self, item: ScoredItem) -> None:
        self.items += 1
        self.errors += item.failure is not None
        self.audio_s += item.duration_s or 0.0
        now = time.monotonic()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.items, self.audio_s))
            while len(self._marks) > 2 and now - self._marks[1][0] > SPAN_S:
                self._marks.popleft()
            self._bar.update(self._task, completed=self.items, description=self._speeds(now))
            if not self._console.is_terminal and now - self._said >= self._interval_s:
                self._said = now
                self._console.print(f"{self.items:,} of {self._total:,} items, {self._speeds(now)}", soft_wrap=True)

    def _speeds(self, now: float) -> str:
        since, items, audio_s = self._marks[0]
        span = max(now - since, 1e-9)
        clips_s = (self.items - items) / span
        left = "?" if clips_s == 0 else duration((self._total - self.items) / clips_s)
        return (
            f"{clips_s:.1f} clips/s, {(self.audio_s - audio_s) / span:,.0f} s of audio/s, "
            f"{self.errors:,} errors, {left} left"
        )

    def summary(self) -> str:
        """One line about the whole run."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        return (
            f"{self.items:,} items, {self.audio_s:,.0f} s of audio, {self.errors:,} errors in {duration(seconds)} "
            f"({self.items / seconds:.1f} clips/s, {self.audio_s / seconds:,.0f} s of audio/s)"
        )


def duration(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
