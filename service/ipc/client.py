"""The workers as an API process sees them: work goes to the least loaded one that serves the same model as the others.

Workers differ if weights were replaced and one of them was restarted. Then the model of the worker that has been ready
for the longest is served: this is the same in all API processes, and as soon as the last worker with the old model has
been restarted, it is the new one. No answer mixes two models.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy as np
import zmq

from model.config import FrontEndConfig
from model.info import ModelInfo
from model.native import Recording, ratio
from service.ipc.admission import AdmissionCache
from service.ipc.embedding import (
    Embedded,
    EmbeddingError,
    ModelReplaced,
    Overloaded,
    Priority,
    RejectedItem,
    Reservation,
    Vectors,
    WorkerUnavailable,
)
from service.ipc.link import RETRY_AFTER_S, Link
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    PART_BYTES,
    Audio,
    Buffer,
    Done,
    Release,
    Reserve,
    Text,
    array_buffer,
    buffer_array,
)
from service.observe.logs import REQUEST_ID

log = logging.getLogger("anysound.ipc")

PART_PROMPTS = 256
"""The largest number of prompts in one message."""
PART_CHARACTERS = PART_BYTES // 12
"""The largest number of characters in one message: JSON takes up to twelve bytes for one."""


class WorkerClient:
    """An Embedder over one or more workers. `async with WorkerClient(endpoints) as embedder`."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self._endpoints = tuple(endpoints)
        self._links: list[Link] = []
        self._model: ModelInfo | None = None
        self._odd: set[int] = set()
        self._ids = itertools.count(1)
        self._admission = AdmissionCache()
        self._context: zmq.Context[zmq.Socket[bytes]]

    async def __aenter__(self) -> WorkerClient:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect to the workers. Returns at once; `ready` is true as soon as one of them has answered."""
        self._context = zmq.Context()
        self._links = [
            Link(self._context, number, endpoint, self._compare) for number, endpoint in enumerate(self._endpoints)
        ]

    async def close(self) -> None:
        """Disconnect. Pending work fails with WorkerUnavailable."""
        await asyncio.gather(*(link.close() for link in self._links))
        self._context.term()

    # State of the workers

    @property
    def ready(self) -> bool:
        return any(self._usable())

    @property
    def alive(self) -> bool:
        return not any(link.stuck for link in self._links)

    @property
    def info(self) -> ModelInfo:
        if self._model is None:
            raise WorkerUnavailable("no worker has been ready yet", RETRY_AFTER_S)
        return self._model

    @property
    def odd_workers(self) -> int:
        """How many workers are not used, since they serve another model than the one that is served."""
        return len(self._odd)

    @property
    def stats(self) -> WorkerStats:
        """The sum of all workers' counters as of their last heartbeat; the same in every API process."""
        total = WorkerStats()
        for link in self._links:
            total.add(link.stats)
        return total

    def _compare(self) -> None:
        """Decide which model is served, and which workers are not used since they serve another one."""
        greeted = [link for link in self._links if link.model is not None]
        if not greeted:
            self._odd = set()
            return
        self._model = min(greeted, key=lambda link: link.ready_since).model
        odd = {link.number for link in greeted if not self._serves(link, self.info.fingerprint)}
        for link in greeted:
            if link.number in odd - self._odd and link.model is not None:
                log.error(
                    "worker %d serves %s and not %s as the others: it is not used until they agree",
                    link.number,
                    link.model.fingerprint[:12],
                    self.info.fingerprint[:12],
                )
        self._odd = odd

    @staticmethod
    def _serves(link: Link, fingerprint: str) -> bool:
        return link.model is not None and link.model.fingerprint == fingerprint

    def _usable(self) -> Iterator[Link]:
        return (link for link in self._links if link.ready and link.number not in self._odd)

    def _least_loaded(self) -> Link:
        """The ready worker with the least work. Raises WorkerUnavailable if none is ready."""
        try:
            return min(self._usable(), key=lambda link: (link.load, link.stats.queue_seconds))
        except ValueError:
            soonest = min((link.startup_s for link in self._links), default=RETRY_AFTER_S)
            raise WorkerUnavailable("no worker is ready", soonest) from None

    # Work for the workers

    def check(self, *, deadline: float, priority: Priority = Priority.INTERACTIVE) -> None:
        self._least_loaded()
        self._admission.check(priority, deadline, time.monotonic())

    def reserve(
        self, windows: int, *, deadline: float, priority: Priority = Priority.INTERACTIVE
    ) -> AbstractAsyncContextManager[Reservation]:
        return self._reserve(windows, deadline, priority)

    @asynccontextmanager
    async def _reserve(self, windows: int, deadline: float, priority: Priority) -> AsyncIterator[Reservation]:
        link = self._least_loaded()
        reservation = Reservation(link.number, next(self._ids))
        try:
            try:
                await link.ask(Reserve(reservation.id, windows, priority.value, deadline), deadline)
            except Overloaded as refused:
                if windows == 1:
                    self._admission.remember(priority, deadline, refused.retry_after_s, time.monotonic())
                raise
            yield reservation
        finally:
            link.tell(Release(reservation.id))

    async def embed_audio(
        self,
        windows: Vectors | Recording,
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        reservation: Reservation | None = None,
        fingerprint: str | None = None,
    ) -> Embedded:
        link = self._least_loaded() if reservation is None else self._links[reservation.worker]
        model = self._model_of(link, fingerprint)
        samples = model.config.front_end.window_samples
        group = next(self._ids) if reservation is None else reservation.id

        def audio(rows: int, rate: int = 0, starts: Sequence[int] = (), length: int = 0) -> Audio:
            request = REQUEST_ID.get()
            return Audio(next(self._ids), rows, priority.value, deadline, group, request, rate, list(starts), length)

        messages: list[tuple[Audio | Text, Buffer]]
        if isinstance(windows, Recording):
            messages = [
                (audio(len(part), part.rate, part.starts.tolist(), part.length), part.samples.data.cast("B"))
                for part in parts_of_recording(windows, model.config.front_end)
            ]
        else:
            if windows.ndim != 2 or windows.shape[1] != samples or not len(windows):
                raise ValueError(f"windows must be [n, {samples}], not {windows.shape}")
            rows = max(1, PART_BYTES // (4 * samples))
            parts = [windows[at : at + rows] for at in range(0, len(windows), rows)]
            messages = [(audio(len(part)), array_buffer(part)) for part in parts]
        link.load += len(windows)
        try:
            return await self._embedded(link, messages, deadline)
        except Overloaded as refused:
            if reservation is None and len(windows) == 1:
                self._admission.remember(priority, deadline, refused.retry_after_s, time.monotonic())
            raise
        finally:
            link.load -= len(windows)

    async def embed_text(
        self,
        prompts: Sequence[str],
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        fingerprint: str | None = None,
    ) -> Embedded:
        link = self._least_loaded()
        model = self._model_of(link, fingerprint)
        if not prompts:
            return Embedded(np.zeros((0, model.config.joint_dim), np.float32), 0.0, 0.0)
        group = next(self._ids)
        messages: list[tuple[Audio | Text, Buffer]] = [
            (
                Text(next(self._ids), len(part), priority.value, deadline, group, REQUEST_ID.get()),
                json.dumps(part).encode(),
            )
            for part in parts_of(prompts)
        ]
        return await self._embedded(link, messages, deadline)

    @staticmethod
    def _model_of(link: Link, fingerprint: str | None) -> ModelInfo:
        """The model of a worker. Raises WorkerUnavailable if the worker is not ready or serves another model."""
        if not link.ready or link.model is None:
            raise WorkerUnavailable("the worker is being restarted", link.startup_s)
        if fingerprint is not None and link.model.fingerprint != fingerprint:
            raise ModelReplaced
        return link.model

    async def _embedded(self, link: Link, messages: Sequence[tuple[Audio | Text, Buffer]], deadline: float) -> Embedded:
        """Send the parts of one call; if one of them fails, the others are cancelled."""
        if len(messages) == 1:
            return await self._part(link, *messages[0], deadline)
        tasks = [asyncio.create_task(self._part(link, *message, deadline)) for message in messages]
        try:
            parts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        last = max(parts, key=lambda part: part.queue_s)
        return Embedded(np.concatenate([part.vectors for part in parts]), last.queue_s, last.compute_s)

    @staticmethod
    async def _part(link: Link, message: Audio | Text, payload: Buffer, deadline: float) -> Embedded:
        answer, vectors = await link.ask(message, deadline, payload)
        if not isinstance(answer, Done):
            raise EmbeddingError(f"the worker answered {type(answer).__name__}")
        return Embedded(buffer_array(vectors, answer.rows), answer.queue_s, answer.compute_s)


def parts_of_recording(recording: Recording, front_end: FrontEndConfig) -> Iterator[Recording]:
    """A recording as parts that fit into one message each, each with whole windows. Raises ValueError for a rate that
    workers do not resample, and for windows of which a single one does not fit."""
    found = ratio(recording.rate, front_end.sample_rate)
    if found is None:
        raise ValueError(f"workers do not resample {recording.rate} Hz to {front_end.sample_rate} Hz")
    window_bytes = 2 * (front_end.window_samples // found.model + 2 + 2 * found.lead) * found.native
    if window_bytes > PART_BYTES:
        raise ValueError(f"a window of {window_bytes} bytes is too large for a message")
    rows = len(recording)
    if recording.samples.nbytes > PART_BYTES:
        hop = recording.samples.nbytes / rows
        rows = max(1, int((PART_BYTES - window_bytes) / max(hop, 1.0)))
    if rows >= len(recording):
        yield recording
        return
    for first in range(0, len(recording), rows):
        yield recording.part(first, first + rows, found, front_end.window_samples)


def parts_of(prompts: Sequence[str]) -> Iterator[list[str]]:
    """Prompts as lists that fit into one message each. Raises RejectedItem for a prompt that fits into none."""
    part: list[str] = []
    characters = 0
    for prompt in prompts:
        if len(prompt) > PART_CHARACTERS:
            raise RejectedItem(f"a prompt of {len(prompt)} characters, more than {PART_CHARACTERS}")
        if len(part) == PART_PROMPTS or characters + len(prompt) > PART_CHARACTERS:
            yield part
            part, characters = [], 0
        part.append(prompt)
        characters += len(prompt)
    yield part
