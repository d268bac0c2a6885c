"""The stages of a request and their durations, as Server-Timing, metrics, traces and log lines report them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Stages:
    """Consecutive stages of one path through the service, in `time.perf_counter()` seconds.

    Each stage begins where the previous one ended, so that the durations add up to the time since `began`.
    """

    def __init__(self) -> None:
        self.began = self.ended = time.perf_counter()
        self._marks: list[tuple[str, float]] = []

    def mark(self, stage: str, at: float | None = None) -> None:
        """End `stage`, now or at `at`."""
        self.ended = max(self.ended, time.perf_counter() if at is None else at)
        self._marks.append((stage, self.ended))

    def follow(self, path: Stages) -> None:
        """Take over the stages of a concurrent path that ended after the last stage here."""
        for stage, ended in path._marks:
            if ended > self.ended:
                self.mark(stage, ended)

    @property
    def seconds(self) -> dict[str, float]:
        """Duration by stage, in the order in which the stages first ended."""
        durations: dict[str, float] = {}
        began = self.began
        for stage, ended in self._marks:
            durations[stage] = durations.get(stage, 0.0) + ended - began
            began = ended
        return durations


_PATH: ContextVar[Stages | None] = ContextVar("stages", default=None)


@contextmanager
def recording(path: Stages) -> Iterator[Stages]:
    """`mark` adds to `path`, also in tasks that are started meanwhile."""
    token = _PATH.set(path)
    try:
        yield path
    finally:
        _PATH.reset(token)


def mark(stage: str, at: float | None = None) -> None:
    """End `stage` of the path that is being recorded, now or at `at`."""
    if (path := _PATH.get()) is not None:
        path.mark(stage, at)


def follow(path: Stages) -> None:
    """`Stages.follow`, for the path that is being recorded."""
    if (own := _PATH.get()) is not None:
        own.follow(path)
