"""A run: the items that have no row yet, through a source of scored items, into parts."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from rich.console import Console

from bulk.folder import RunFolder
from bulk.item import Item
from bulk.progress import RunProgress
from bulk.scoring import ScoredItem

PART_ITEMS = 2_000
PART_S = 60.0
"""A part is written when it has `PART_ITEMS` items, or this long after the last one: what a kill loses."""

Stop = Callable[[], bool]
Score = Callable[[Sequence[Item], Stop], Iterator[ScoredItem]]
"""Scores items in their order; once the second argument is true, no further one is begun."""


@dataclass(frozen=True)
class Finished:
    """How a run ended. `stopped` is whether items are left because it was told to stop."""

    done_before: int
    progress: RunProgress
    stopped: bool


def run(
    items: Sequence[Item],
    score: Score,
    folder: RunFolder,
    console: Console,
) -> Finished:
    """Score the items that have no row in `folder`. SIGINT and SIGTERM end it once what was begun is written.

    Raises what `score` raises, after what was scored is written; OSError if the folder cannot be written.
    """
    done = folder.done()
    todo = [item for item in items if item.path not in done]
    with stopping() as stop, RunProgress(len(todo), console) as progress:
        waiting: list[ScoredItem] = []
        written = time.monotonic()
        try:
            for scored in score(todo, stop):
                waiting.append(scored)
                progress.count(scored)
                if len(waiting) >= PART_ITEMS or time.monotonic() - written > PART_S:
                    folder.write(waiting)
                    waiting, written = [], time.monotonic()
        finally:
            if waiting:
                folder.write(waiting)
        return Finished(len(items) - len(todo), progress, stop() and progress.items < len(todo))


@contextmanager
def stopping() -> Iterator[Stop]:
    """A function that is true once SIGINT or SIGTERM has come. A second SIGINT interrupts at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return

    def stop(number: int, _: FrameType | None) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
