"""Work whose answer nobody waits for is stopped: the client has left, or the request's time is up."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Cancellation:
    """ASGI middleware: cancels the application when the client leaves.

    Raises TimeoutError when a request takes longer than `timeout_s` from its first byte to its answer.
    """

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self.app = app
        self.timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        async with asyncio.timeout(self.timeout_s):
            await _Request(receive, send).run(self.app, scope)


class _Request:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._watching: asyncio.Task[None] | None = None
        self._answered = self._left = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        self._task = asyncio.current_task()
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._left or self._task is None or self._task.uncancel():
                raise
        finally:
            if self._watching is not None:
                self._watching.cancel()

    async def _watch(self) -> None:
        """Cancel the application when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._answered and self._task is not None:
            self._left = True
            self._task.cancel()

    async def receive(self) -> Message:
        if self._watching is not None:
            await asyncio.Event().wait()  # `_watch` notices that the client has left, and cancels this
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watching = asyncio.create_task(self._watch())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)
