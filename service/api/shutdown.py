"""Whether this process is about to stop."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass
class Shutdown:
    """`draining`: readiness says no, and requests are still served."""

    draining: bool = False


class CloseConnections:
    """ASGI middleware: while draining, every answer asks its client to come back on another connection."""

    def __init__(self, app: ASGIApp, shutdown: Shutdown) -> None:
        self.app = app
        self.shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if self.shutdown.draining and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        await self.app(scope, receive, send_closing if scope["type"] == "http" else send)
