"""The connection of an API process to one worker: questions, answers, and what is known of the worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import zmq
from zmq.utils.monitor import parse_monitor_message

from model.info import ModelInfo
from service.ipc.embedding import DeadlineExceeded, EmbeddingError, Overloaded, RejectedItem, WorkerUnavailable
from service.ipc.inbox import Inbox
from service.ipc.stats import WorkerStats
from service.ipc.transport import (
    MAX_PENDING,
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
    Reserve,
    Reserved,
    Text,
    connecting,
    decode,
    encode,
    model_from_json,
)

HELLO_S = 1.0
SILENCE_S = 5.0
"""A worker that has sent nothing for this long is not ready."""
STUCK_S = 60.0
"""A connected worker that has been silent, or has been running one batch, for this long makes no progress."""
RETRY_AFTER_S = 5.0
"""When to retry while it is not known how long a worker takes to start."""
CROWDED_RETRY_S = 1.0
"""When to retry if too many requests wait for a worker."""


class Link:
    """One worker, which may be down. `changed` is called when it gets ready or is lost.

    `load` is the number of windows that it has not answered yet.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], number: int, endpoint: str, changed: Callable[[], None]
    ) -> None:
        self.number = number
        self.model: ModelInfo | None = None
        self.ready_since = 0.0
        self.startup_s = RETRY_AFTER_S
        self.stats = WorkerStats()
        self.load = 0.0
        self._changed = changed
        self._heard = 0.0
        self._pending: dict[int, asyncio.Future[tuple[Message, memoryview]]] = {}
        self._socket = connecting(context)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        self._socket.connect(endpoint)
        self._events = Inbox(self._monitor, self._follow)
        self._answers = Inbox(self._socket, self._receive)
        self._greeting = asyncio.get_running_loop().create_task(self._say_hello())

    async def close(self) -> None:
        """Disconnect. Pending work fails with WorkerUnavailable."""
        self._greeting.cancel()
        await asyncio.gather(self._greeting, return_exceptions=True)
        self._events.close()
        self._answers.close()
        self._lost("the connection was closed")
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)

    @property
    def greeted(self) -> bool:
        """Whether the worker is connected and has said what it serves."""
        return self.model is not None

    @property
    def ready(self) -> bool:
        return self.greeted and time.monotonic() - self._heard < SILENCE_S

    @property
    def stuck(self) -> bool:
        return self.greeted and max(time.monotonic() - self._heard, self.stats.busy_s) > STUCK_S

    async def ask(
        self, message: Reserve | Audio | Text, deadline: float, payload: Buffer = b""
    ) -> tuple[Reserved | Done, memoryview]:
        """Send, and wait for the answer until the deadline. Raises the worker's failure as an EmbeddingError."""
        if len(self._pending) >= MAX_PENDING:
            raise Overloaded(f"{MAX_PENDING} requests wait for the worker", CROWDED_RETRY_S)
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("the deadline has passed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[Message, memoryview]] = loop.create_future()
        self._pending[message.id] = future
        expiry = loop.call_later(left_s, _expire, future)
        try:
            self._send(message, payload)
            answer, vectors = await future
        except (asyncio.CancelledError, DeadlineExceeded):
            self.tell(Cancel(message.id))
            raise
        finally:
            expiry.cancel()
            del self._pending[message.id]
        if isinstance(answer, Reserved | Done):
            return answer, vectors
        raise _failure(answer)

    def tell(self, message: Message) -> None:
        """Send a message that has no answer. A worker that is not connected gets nothing: it has dropped the work."""
        with contextlib.suppress(WorkerUnavailable):
            self._send(message)

    def _send(self, message: Message, payload: Buffer = b"") -> None:
        """Queue a message for the worker; never blocks. Raises WorkerUnavailable if it is not connected."""
        try:
            self._socket.send_multipart(encode(message, payload), zmq.NOBLOCK)
        except zmq.Again:
            raise WorkerUnavailable("the worker is not connected", self.startup_s) from None
        self._answers.check()

    def _lost(self, reason: str) -> None:
        """Fail everything that waits for the worker."""
        self.model = None
        self.stats.queue_seconds = self.stats.busy_s = 0.0
        self._fail_pending(reason)
        self._changed()

    def _fail_pending(self, reason: str) -> None:
        for future in self._pending.values():
            if not future.done():
                future.set_exception(WorkerUnavailable(reason, self.startup_s))

    def _follow(self, frames: Sequence[zmq.Frame]) -> None:
        """A connect or a disconnect. The kernel closes a dead worker's socket, so death is noticed at once."""
        event = parse_monitor_message([frame.bytes for frame in frames])["event"]
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._heard = time.monotonic()
            self.tell(Hello())
        else:
            self._lost("the worker died before it answered")

    def _receive(self, frames: Sequence[zmq.Frame]) -> None:
        try:
            message, payload = decode(frames)
        except Malformed:
            return
        self._heard = time.monotonic()
        match message:
            case Reserved() | Done() | Failed():
                future = self._pending.get(message.id)
                if future is not None and not future.done():
                    future.set_result((message, payload))
            case Heartbeat():
                self.stats = WorkerStats.from_json(message.stats)
            case Info():
                self._greet(message)

    def _greet(self, info: Info) -> None:
        if self.greeted:  # this process was silent for so long that the worker has dropped its work
            self._fail_pending("the worker has dropped the work of this process")
        self.model = model_from_json(info.model)
        self.ready_since, self.startup_s = info.ready_since, info.startup_s
        self._changed()

    async def _say_hello(self) -> None:
        while True:
            await asyncio.sleep(HELLO_S)
            self.tell(Hello())


def _expire(future: asyncio.Future[tuple[Message, memoryview]]) -> None:
    if not future.done():
        future.set_exception(DeadlineExceeded("the deadline passed"))


def _failure(answer: Message) -> EmbeddingError:
    if not isinstance(answer, Failed):
        return EmbeddingError(f"the worker answered {type(answer).__name__}")
    if answer.error == "overloaded":
        return Overloaded(answer.detail, answer.retry_after_s)
    if answer.error == "deadline_exceeded":
        return DeadlineExceeded(answer.detail)
    return RejectedItem(answer.detail)
