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
        self._body_ended = asyncio.Event()
        self._answered = False

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        answering = asyncio.ensure_future(app(scope, self.receive, self.send))
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if answering.done() or self._answered:
                await answering
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.wait((answering, gone))

    async def _gone(self) -> None:
        await self._body_ended.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def receive(self) -> Message:
        if self._body_ended.is_set():
            await asyncio.Event().wait()  # `_gone` notices that the client has left, and `run` cancels this
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._body_ended.set()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)
