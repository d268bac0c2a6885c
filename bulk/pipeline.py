"""Items to embeddings: reader processes on one side, threads that run the model on the other, nobody waiting.

One class serves a run on one machine and the actors of a Ray cluster.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bulk.cutting import EVENTS, SCORES
from bulk.item import Failure, Item
from bulk.messages import Done, Void
from bulk.readers import Filling, Readers, Slot
from bulk.setup import ReaderSetup
from model.isolation import Outcome, embed_each
from model.native import Excerpt
from model.prompts import Embeddings
from model.windows import Samples

AHEAD = 4096
"""Items that may be begun before the first of them has ended: results are given in order."""
TICK_S = 1.0
FILL_S = 0.5
"""How long a window may wait for its batch to fill while items are being read. Full batches take the least time per
window, and what a waiting thread leaves idle, readers use."""


class Model(Protocol):
    """The part of `model.engine.Engine` that a pipeline uses."""

    dim: int
    streams: int
    batch_windows: int

    def embed_audio(self, windows: Sequence[Samples | Excerpt]) -> Embeddings: ...


class Listener(Protocol):
    """Takes the windows of an item that are meant for its events, in order of time."""

    def hear(self, start: int, embedding: Embeddings) -> None:
        """A window that starts at sample `start`, and its embedding [d]."""


@dataclass(frozen=True)
class Result:
    """An item's embedding [d] and what its listener made of its windows, or why there is none."""

    item: Item
    content_hash: str | None
    duration_s: float | None
    embedding: Embeddings | None
    listener: Listener | None
    failure: Failure | None


@dataclass(eq=False)
class _Piece:
    """A slot whose windows are being embedded."""

    slot: Slot
    left: int

    def window_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.slot.free()


@dataclass(eq=False, slots=True)
class _Window:
    clip: _Clip
    edition: int
    order: int
    start: int
    purpose: int
    samples: Samples | Excerpt
    piece: _Piece


@dataclass(eq=False)
class _Clip:
    """An item between its first window and its result. Embeddings are taken in order of time, however they arrive."""

    item: Item
    listener: Listener | None
    edition: int = 0
    begun: int = 0
    taken: int = 0
    summed: int = 0
    total: npt.NDArray[np.float64] | None = None
    early: dict[int, tuple[_Window, Embeddings]] = field(default_factory=dict)
    done: Done | None = None
    failure: Failure | None = None

    def take(self, window: _Window, embedding: Embeddings) -> None:
        self.early[window.order] = window, embedding
        while (following := self.early.pop(self.taken, None)) is not None:
            self._add(*following)
            self.taken += 1

    def _add(self, window: _Window, embedding: Embeddings) -> None:
        if window.purpose & SCORES:
            self.total = embedding.astype(np.float64) if self.total is None else self.total + embedding
            self.summed += 1
        if window.purpose & EVENTS and self.listener is not None:
            self.listener.hear(window.start, embedding)

    @property
    def ended(self) -> bool:
        return self.done is not None and (self.failure is not None or self.taken == self.begun)

    def result(self) -> Result:
        assert self.done is not None  # noqa: S101
        failure = self.failure
        embedding = None
        if failure is None:
            assert self.total is not None  # noqa: S101
            mean = self.total / self.summed
            embedding = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
        return Result(self.item, self.done.content_hash, self.done.duration_s, embedding, self.listener, failure)


class Pipeline:
    """Embeds items with a model. `listener` makes what hears the windows of an item for its events.

    Use as a context manager, and for one `run` at a time.
    """

    def __init__(
        self, model: Model, setup: ReaderSetup, readers: int, listener: Callable[[], Listener] | None = None
    ) -> None:
        self._model = model
        self._listener = listener
        # Each stream computes a batch, and one more is gathered.
        self._readers = Readers(readers, setup, (model.streams + 1) * model.batch_windows)
        self._reading = False
        self._ready: deque[_Window] = deque()
        self._lock = threading.Condition()
        self._finished: SimpleQueue[tuple[list[_Window], Outcome] | BaseException] = SimpleQueue()
        self._wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._batch_windows = model.batch_windows
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._compute, name=f"compute-{number}", daemon=True)
            for number in range(model.streams)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._stopped = True
            self._lock.notify_all()
        self._readers.stop()
        for thread in self._threads:
            thread.join()
        os.close(self._wakeup)

    def run(self, items: Iterable[Item], stop: Callable[[], bool] = lambda: False) -> Iterator[Result]:
        """Yield the result of each item, in order. Once `stop` is true no further item is begun.

        Raises DeviceFault, ReadersFailed.
        """
        waiting = iter(items)
        clips: dict[int, _Clip] = {}
        first = number = 0
        more = True
        while more or clips:
            while more and self._readers.room and number - first < AHEAD:
                item = None if stop() else next(waiting, None)
                if item is None:
                    more = False
                    break
                clips[number] = _Clip(item, self._listener() if self._listener else None)
                self._readers.give(number, item)
                number += 1
            if not clips:
                break
            self._note_reading()
            for event in self._readers.events([self._wakeup], TICK_S):
                self._take(clips[event.number], event)
            self._collect()
            while first in clips and clips[first].ended:
                yield clips.pop(first).result()
                first += 1

    def _take(self, clip: _Clip, event: Filling | Void | Done) -> None:
        if isinstance(event, Done):
            clip.done = event
            clip.failure = clip.failure or event.failure
        elif isinstance(event, Void):
            clip.edition += 1
            clip.begun = clip.taken = clip.summed = 0
            clip.total = None
            clip.early.clear()
            clip.listener = self._listener() if self._listener else None
        else:
            self._queue(clip, event)

    def _queue(self, clip: _Clip, filling: Filling) -> None:
        piece = _Piece(filling.slot, len(filling.windows))
        windows = []
        for (start, purpose), samples in zip(filling.windows, filling.samples, strict=True):
            windows.append(_Window(clip, clip.edition, clip.begun, filling.at + start, purpose, samples, piece))
            clip.begun += 1
        with self._lock:
            self._ready.extend(windows)
            if self._due():
                self._lock.notify()

    def _collect(self) -> None:
        try:
            os.eventfd_read(self._wakeup)
        except BlockingIOError:
            return
        while True:
            try:
                finished = self._finished.get_nowait()
            except Empty:
                return
            if isinstance(finished, BaseException):
                raise finished
            batch, outcome = finished
            for row, window in enumerate(batch):
                window.piece.window_done()
                if window.edition != window.clip.edition or window.clip.failure is not None:
                    continue
                if row in outcome.failed:
                    detail = f"The model cannot embed this recording: {outcome.failed[row]}"[:500]
                    window.clip.failure = Failure("model", detail)
                else:
                    window.clip.take(window, outcome.vectors[row])
            if outcome.fits is not None:
                self._batch_windows = min(self._batch_windows, outcome.fits)

    def _compute(self) -> None:
        try:
            while batch := self._next_batch():
                windows = [window.samples for window in batch]
                self._report((batch, embed_each(self._model.embed_audio, windows, self._model.dim)))
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._report(error)

    def _note_reading(self) -> None:
        with self._lock:
            self._reading = self._readers.busy
            if not self._reading:
                self._lock.notify_all()

    def _next_batch(self) -> list[_Window]:
        """A batch as soon as it is full, or after FILL_S, or when nothing is being read. Empty at the end."""
        with self._lock:
            while not self._lock.wait_for(self._due, FILL_S) and not self._ready:
                pass
            if self._stopped:
                return []
            return [self._ready.popleft() for _ in range(min(len(self._ready), self._batch_windows))]

    def _due(self) -> bool:
        waiting = len(self._ready)
        return self._stopped or waiting >= self._batch_windows or (waiting > 0 and not self._reading)

    def _report(self, finished: tuple[list[_Window], Outcome] | BaseException) -> None:
        self._finished.put(finished)
        os.eventfd_write(self._wakeup, 1)
