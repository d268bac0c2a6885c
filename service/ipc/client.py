"""The workers as an API process sees them: work goes to the least loaded one, and a dead one fails its work at once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from service.ipc.admission import AdmissionCache
from service.ipc.embedding import (
    DeadlineExceeded,
    Embedded,
    EmbeddingError,
    ModelInfo,
    Overloaded,
    Priority,
    RejectedItem,
    Reservation,
    Vectors,
    WorkerUnavailable,
)
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    Audio,
    Buffer,
    Cancel,
    Done,
    Failed,
    Heartbeat,
    Hello,
    Info,
    Malformed,
    Message,
    Release,
    Reserve,
    Reserved,
    Text,
    array_buffer,
    buffer_array,
    connecting,
    decode,
    encode,
    model_from_json,
)
from service.observe.logs import REQUEST_ID

PING_S = 1.0
SILENCE_S = 5.0
"""A worker that has sent nothing for this long is not ready."""
STUCK_S = 60.0
"""A connected worker that has been silent, or has been running one batch, for this long makes no progress."""
RETRY_AFTER_S = 5.0
"""When to retry while it is not known how long a worker takes to start."""


@dataclass
class Link:
    """The connection to one worker, which may be down. `load` is the number of windows that it has not answered yet."""

    number: int
    endpoint: str
    socket: zmq.asyncio.Socket
    monitor: zmq.asyncio.Socket
    model: ModelInfo | None = None
    max_payload_bytes: int = 0
    startup_s: float = RETRY_AFTER_S
    connected: bool = False
    greeted: bool = False
    heard: float = 0.0
    stats: WorkerStats = field(default_factory=WorkerStats)
    pending: dict[int, asyncio.Future[tuple[Message, memoryview]]] = field(default_factory=dict)
    load: float = 0.0

    @property
    def ready(self) -> bool:
        return self.greeted and time.monotonic() - self.heard < SILENCE_S

    @property
    def stuck(self) -> bool:
        silent = time.monotonic() - self.heard
        return self.connected and self.greeted and max(silent, self.stats.busy_s) > STUCK_S

    def lost(self) -> None:
        """The worker died: fail everything that waits for it."""
        self.connected = self.greeted = False
        self.stats.queue_seconds = self.stats.busy_s = 0.0
        for future in self.pending.values():
            if not future.done():
                future.set_exception(WorkerUnavailable("the worker died before it answered", self.startup_s))


class WorkerClient:
    """An Embedder over one or more workers. `async with WorkerClient(endpoints) as embedder`."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self._endpoints = tuple(endpoints)
        self._links: list[Link] = []
        self._model: ModelInfo | None = None
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._admission = AdmissionCache()
        self._context: zmq.asyncio.Context

    async def __aenter__(self) -> WorkerClient:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect to the workers. Returns at once; `ready` is true as soon as one of them has answered."""
        self._context = zmq.asyncio.Context()
        for number, endpoint in enumerate(self._endpoints):
            socket = connecting(self._context)
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            link = Link(number, endpoint, socket, monitor)
            self._links.append(link)
            socket.connect(endpoint)
            for loop in (self._watch(link), self._listen(link), self._ping(link)):
                self._keep(loop)

    async def close(self) -> None:
        """Disconnect. Pending work fails with WorkerUnavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:
            link.lost()
            link.socket.disable_monitor()
            link.monitor.close(0)
            link.socket.close(0)
        self._context.term()

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # State of the workers

    @property
    def ready(self) -> bool:
        return any(link.ready for link in self._links)

    @property
    def alive(self) -> bool:
        return not any(link.stuck for link in self._links)

    @property
    def info(self) -> ModelInfo:
        if self._model is None:
            raise WorkerUnavailable("no worker has been ready yet", RETRY_AFTER_S)
        return self._model

    @property
    def stats(self) -> WorkerStats:
        """The sum of all workers' counters as of their last heartbeat; the same in every API process."""
        total = WorkerStats()
        for link in self._links:
            total.add(link.stats)
        return total

    @property
    def queue_seconds(self) -> float:
        """Seconds of audio that wait at the workers, as of their last heartbeat."""
        return sum(link.stats.queue_seconds for link in self._links)

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
                await self._ask(link, Reserve(reservation.id, windows, priority.value, deadline), deadline)
            except Overloaded as refused:
                if windows == 1:
                    self._admission.remember(priority, deadline, refused.retry_after_s, time.monotonic())
                raise
            yield reservation
        finally:
            self._tell(link, Release(reservation.id))

    async def embed_audio(
        self,
        windows: Vectors,
        *,
        deadline: float,
        priority: Priority = Priority.INTERACTIVE,
        reservation: Reservation | None = None,
    ) -> Embedded:
        link = self._least_loaded() if reservation is None else self._links[reservation.worker]
        if not link.ready or link.model is None:
            raise WorkerUnavailable("the worker is being restarted", link.startup_s)
        samples = link.model.config.front_end.window_samples
        if windows.ndim != 2 or windows.shape[1] != samples or not len(windows):
            raise ValueError(f"windows must be [n, {samples}], not {windows.shape}")
        payload = array_buffer(windows)
        if len(payload) > link.max_payload_bytes:
            raise Overloaded("more audio than the queue can ever hold", link.startup_s)
        number = next(self._ids)
        reserved = None if reservation is None else reservation.id
        message = Audio(number, len(windows), priority.value, deadline, reserved, REQUEST_ID.get())
        link.load += len(windows)
        try:
            return await self._embedded(link, message, deadline, payload)
        finally:
            link.load -= len(windows)

    async def embed_text(
        self, prompts: Sequence[str], *, deadline: float, priority: Priority = Priority.INTERACTIVE
    ) -> Embedded:
        link = self._least_loaded()
        if not prompts:
            return Embedded(np.zeros((0, self.info.config.joint_dim), np.float32), 0.0, 0.0)
        message = Text(next(self._ids), len(prompts), priority.value, deadline, REQUEST_ID.get())
        return await self._embedded(link, message, deadline, json.dumps(list(prompts)).encode())

    async def _embedded(self, link: Link, message: Audio | Text, deadline: float, payload: Buffer) -> Embedded:
        answer, vectors = await self._ask(link, message, deadline, payload)
        if not isinstance(answer, Done):
            raise EmbeddingError(f"the worker answered {type(answer).__name__}")
        return Embedded(buffer_array(vectors, answer.rows), answer.queue_s, answer.compute_s)

    def _least_loaded(self) -> Link:
        """The ready worker with the least work. Raises WorkerUnavailable if none is ready."""
        ready = [link for link in self._links if link.ready]
        if not ready:
            soonest = min((link.startup_s for link in self._links), default=RETRY_AFTER_S)
            raise WorkerUnavailable("no worker is ready", soonest)
        return min(ready, key=lambda link: (link.load, link.stats.queue_seconds))

    async def _ask(
        self, link: Link, message: Reserve | Audio | Text, deadline: float, payload: Buffer = b""
    ) -> tuple[Message, memoryview]:
        """Send, and wait for the answer until the deadline. Raises the worker's failure as an EmbeddingError."""
        future = asyncio.get_running_loop().create_future()
        link.pending[message.id] = future
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await link.socket.send_multipart(encode(message, payload), copy=len(payload) < 1 << 16)
                answer, vectors = await future
        except TimeoutError:
            self._tell(link, Cancel(message.id))
            raise DeadlineExceeded("the deadline passed") from None
        except asyncio.CancelledError:
            self._tell(link, Cancel(message.id))
            raise
        finally:
            del link.pending[message.id]
        if isinstance(answer, Failed):
            raise _failure(answer)
        return answer, vectors

    def _tell(self, link: Link, message: Message) -> None:
        """Send without waiting; a worker that is not connected has forgotten the work anyway."""
        if link.connected:
            self._keep(self._send(link, message))

    async def _send(self, link: Link, message: Message) -> None:
        with contextlib.suppress(zmq.ZMQError):
            await link.socket.send_multipart(encode(message), zmq.NOBLOCK)

    # What the workers send

    async def _watch(self, link: Link) -> None:
        """Follow connects and disconnects. The kernel closes a dead worker's socket, so death is noticed at once."""
        while True:
            event = parse_monitor_message(await link.monitor.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                link.connected = True
                link.heard = time.monotonic()
                self._tell(link, Hello())
            else:
                link.lost()

    async def _listen(self, link: Link) -> None:
        while True:
            try:
                message, payload = decode(await link.socket.recv_multipart(copy=False))
            except Malformed:
                continue
            link.heard = time.monotonic()
            match message:
                case Info():
                    link.model = self._model = model_from_json(message.model)
                    link.max_payload_bytes = message.max_payload_bytes
                    link.startup_s = message.startup_s
                    link.greeted = True
                case Heartbeat():
                    link.stats = WorkerStats.from_json(message.stats)
                case Reserved() | Done() | Failed():
                    future = link.pending.get(message.id)
                    if future is not None and not future.done():
                        future.set_result((message, payload))
                case _:
                    continue

    async def _ping(self, link: Link) -> None:
        while True:
            await asyncio.sleep(PING_S)
            self._tell(link, Hello())


def _failure(failed: Failed) -> EmbeddingError:
    if failed.error == "overloaded":
        return Overloaded(failed.detail, failed.retry_after_s)
    if failed.error == "deadline_exceeded":
        return DeadlineExceeded(failed.detail)
    return RejectedItem(failed.detail)
