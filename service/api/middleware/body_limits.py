"""How large one request body may be, and all bodies together."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of

RETRY_S = 1
"""When to come back while too many bodies are in memory. They are released when their requests end."""


class HeldBytes:
    """Bytes of all bodies that are being received or worked on, against a limit."""

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

        try:
            await self.app(scope, limited, send)
        finally:
            self.held.release(exchange.received_bytes)
