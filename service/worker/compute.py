"""The compute threads: they take batches from the queue and run the model, so the device never waits for a socket.

There are as many as the engine has streams: two on a GPU, where one batch is copied while the other is computed, and
one per core on a CPU. On a CPU one further thread runs only prompts, and one of the others only audio, so that
neither kind waits for a batch of the other.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import numpy as np

from model.info import ModelInfo
from model.isolation import DeviceFault, Outcome, embed_each
from model.native import Excerpt
from service.ipc.embedding import Vectors
from service.worker.batching import BatchQueue
from service.worker.requests import Batch, Kind
from service.worker.wait_estimate import WaitEstimate

log = logging.getLogger("anysound.worker")

EX_DEVICE = 71
"""Exit status after a fault of the device."""
CHARACTERS_PER_TOKEN = 3
WARM_UP_BATCHES = (1, 2, 4)


class Model(Protocol):
    """The part of an engine that a worker uses."""

    dim: int
    window_samples: int
    info: ModelInfo

    def embed_audio(self, windows: Sequence[Vectors | Excerpt]) -> Vectors: ...

    def embed_text(self, prompts: Sequence[str]) -> Vectors: ...


@dataclass(slots=True)
class Finished:
    """A batch that the device has run. `outcome` is None if the batch only lists requests that have expired."""

    batch: Batch
    outcome: Outcome | None = None
    started: float = 0.0
    ended: float = 0.0


EITHER = tuple(Kind)


def kinds_of_threads(streams: int, device: str) -> list[Collection[Kind]]:
    """The kinds of work that each compute thread runs."""
    if device != "cpu":
        return [EITHER] * streams
    return [(Kind.AUDIO,), *[EITHER] * (streams - 1), (Kind.TEXT,)]


class ComputeThreads:
    """Threads that run batches of `queue` until `stop`, each of its own kinds. Whoever uses the queue holds `lock`."""

    def __init__(self, model: Model, queue: BatchQueue, threads: Sequence[Collection[Kind]]) -> None:
        self.lock = threading.Condition()
        self.wakeup = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Readable when a batch is finished."""
        self._model = model
        self._queue = queue
        self._finished: SimpleQueue[Finished] = SimpleQueue()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._compute, args=(kinds,), name=f"compute-{number}", daemon=True)
            for number, kinds in enumerate(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no further batch."""
        with self.lock:
            self._stopped = True
            self.lock.notify_all()

    def finished(self) -> Iterator[Finished]:
        """The batches that were finished since the last call."""
        os.eventfd_read(self.wakeup)
        while True:
            try:
                yield self._finished.get_nowait()
            except Empty:
                return

    def _compute(self, kinds: Collection[Kind]) -> None:
        try:
            while (batch := self._next_batch(kinds)) is not None:
                self._run(batch)
        except DeviceFault as fault:
            log.critical("the device failed: %s", fault)
            os._exit(EX_DEVICE)
        except BaseException:  # noqa: BLE001 - a worker without its compute thread must not look alive
            traceback.print_exc()
            os._exit(os.EX_SOFTWARE)

    def _next_batch(self, kinds: Collection[Kind]) -> Batch | None:
        """Wait for work; None after `stop`."""
        with self.lock:
            while not self._stopped:
                now = time.monotonic()
                batch = self._queue.take(now, kinds)
                if batch.items:
                    self._queue.estimate.started(batch, now)
                    return batch
                if batch.expired:
                    self._report(Finished(batch))
                self.lock.wait()
        return None

    def _run(self, batch: Batch) -> None:
        started = time.monotonic()
        items = [item.request.payload.items[item.index] for item in batch.items]
        embed: Any = self._model.embed_audio if batch.kind is Kind.AUDIO else self._model.embed_text
        outcome = embed_each(embed, items, self._model.dim)
        with self.lock:
            ended = time.monotonic()
            self._queue.estimate.finished(batch, ended)
            if outcome.fits is not None and batch.kind is Kind.AUDIO:
                self._queue.limits = replace(self._queue.limits, batch_windows=outcome.fits)
                log.warning("out of memory: batches now have at most %d windows", outcome.fits)
        self._report(Finished(batch, outcome, started, ended))

    def _report(self, finished: Finished) -> None:
        self._finished.put(finished)
        os.eventfd_write(self.wakeup, 1)


def warm_up(model: Model, estimate: WaitEstimate, window_s: float) -> None:
    """Run each encoder, so that no request pays for lazy set-up, and learn how long batches take."""
    silence = np.zeros((max(WARM_UP_BATCHES), model.window_samples), np.float32)
    prompts = ["this is a sound of a dog"] * max(WARM_UP_BATCHES)
    for size in WARM_UP_BATCHES:
        estimate.learn(Kind.AUDIO, size * window_s, best_s(model.embed_audio, list(silence[:size])))
        estimate.learn(Kind.TEXT, size * token_cost(prompts[0], 100), best_s(model.embed_text, prompts[:size]))


def best_s(embed: Callable[[Any], Vectors], items: Sequence[Any]) -> float:
    """Seconds that a batch takes: the better of two runs, since the first may include lazy set-up."""
    durations = []
    for _ in range(2):
        started = time.monotonic()
        embed(items)
        durations.append(time.monotonic() - started)
    return min(durations)


def token_cost(prompt: str, max_tokens: int) -> float:
    """Approximate number of tokens of a prompt, from its characters: cheap, and exact enough to bound a batch."""
    return float(min(max_tokens, 2 + len(prompt) / CHARACTERS_PER_TOKEN))
