"""Limits on the size of one request body, and of all bodies and answers in memory."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of
from service.api.problems import Code, Problem, respond
from service.observe.metrics import REJECTED

RETRY_S = 1
"""Retry-After while too many bodies are in memory: bodies are freed when their requests end."""
SMALL_ANSWER_BYTES = 64 << 10
"""Answers below this size are not counted."""
FULL = Problem(Code.OVERLOADED, "Requests and answers in progress fill the memory that they may take.", RETRY_S)


class HeldBytes:
    """Bytes of all bodies that are being received or worked on, and of all answers being sent, against a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def hold(self, count: int) -> bool:
        """Hold `count` more; False if that is over the limit. Either way the caller has to release them."""
        self._held += count
        return self._held <= self._limit

    def release(self, count: int) -> None:
        self._held -= count


class BodyLimits:
    """ASGI middleware: counts a body while it streams, whatever its Content-Length says.

    `receive` raises HTTPException: 413 for a body of more than `max_bytes`, 503 while the process holds more than
    `max_held_bytes`.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_held_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.held = HeldBytes(max_held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        declared = exchange.headers.get("content-length", "")

        async def limited() -> Message:
            if declared.isdigit() and int(declared) > self.max_bytes:
                raise HTTPException(413)
            message = await receive()
            if message["type"] == "http.request":
                length = len(message.get("body", b""))
                exchange.received_bytes += length
                if exchange.received_bytes > self.max_bytes:
                    self.held.hold(length)
                    raise HTTPException(413)
                if not self.held.hold(length):
                    raise HTTPException(503, headers={"Retry-After": str(RETRY_S)})
            return message

        answer = _Answer(scope, receive, send, self.held)
        try:
            await self.app(scope, limited, answer.send)
        finally:
            self.held.release(exchange.received_bytes + answer.bytes)


class _Answer:
    """Sends an answer. A large one counts as held until its client has read it; above the limit it becomes a 503."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, held: HeldBytes) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._held = held
        self._replaced = False
        self.bytes = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            length = int(Headers(raw=message["headers"]).get("content-length", 0))
            if length > SMALL_ANSWER_BYTES:
                self.bytes = length
                self._replaced = not self._held.hold(length)
                if self._replaced:
                    REJECTED.labels(FULL.code.code).inc()
                    exchange = exchange_of(self._scope)
                    await respond(FULL, exchange.id, exchange.path)(self._scope, self._receive, self._send)
        if not self._replaced:
            await self._send(message)
