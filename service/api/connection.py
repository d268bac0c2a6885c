"""The HTTP protocol of one connection: time limits for slow clients, and an orderly close when the server stops."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.problems import Code, Problem, invalid, respond

HEAD_S = 5.0
"""Limit on the time that a request's first line and headers take. Uvicorn has none."""
HEAD_BYTES = 256 << 10
"""Limit on the size of the first line and the headers. It is high because the query may hold labels."""
URL_BYTES = 65_535
"""Limit on the size of path and query. The parser, httptools, has the same."""
GRACE_S = 5.0
"""Time after a request's limit in which its client has to read the answer, or to send the rest of a refused body."""
BODY_BYTES = 512 << 10
"""A body is passed to the application in pieces of about this size."""
LINGER_S = 1.0
"""Time that an idle connection stays open when the server stops, because a request may be on its way."""


class Pieces:
    """A part of a body as it came from the socket. `bytes(pieces)` is the only copy of it that is made."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._length += len(piece)

    def __len__(self) -> int:
        return self._length

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with time limits, and without its race between a new request and the server's shutdown.

    `exchange_s` is the time limit from a request's headers to its answer.
    """

    head_s = HEAD_S
    head_bytes = HEAD_BYTES
    grace_s = GRACE_S
    exchange_s = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._in_head = True
        self._in_body = False
        self._head = 0

    @property
    def idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            if self._head == 0:
                self._arm(self.head_s)
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self.head_bytes:  # the last piece may hold the start of the body
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._arm(self.exchange_s + self.grace_s)
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        """From here on the connection is a WebSocket's, whose application bounds its times."""
        if self._timer is not None:
            self._timer.cancel()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words say less
        """Called for a request that cannot be parsed, or whose path and query are too long for the parser."""
        problem = invalid("the request is not valid HTTP/1.1")
        if len(self.url) > URL_BYTES:
            detail = f"The path and the query together exceed {URL_BYTES} bytes; send the labels in the body."
            problem = Problem(Code.PAYLOAD_TOO_LARGE, detail)
        request_id = uuid.uuid4().hex
        answer = respond(problem, request_id)
        headers = [*answer.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", bytes(answer.body)]))
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle.response_complete or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        pieces: Any = cycle.body
        if not isinstance(pieces, Pieces):  # uvicorn has put an empty bytearray there, for the next message
            cycle.body = pieces = Pieces()  # type: ignore[assignment]
        pieces.add(body)
        if len(pieces) >= BODY_BYTES:
            self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._in_head, self._in_body, self._head = True, False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body:
            self._arm(self.grace_s)

    def shutdown(self) -> None:
        if self.idle:
            self.loop.call_later(LINGER_S, self._close_if_idle)
        else:
            super().shutdown()

    def _arm(self, seconds: float) -> None:
        """Let the connection expire in `seconds`. A timer that is due earlier stays, and starts another one then."""
        self._due = self.loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._due:
                return
            self._timer.cancel()
        self._timer = self.loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self.loop.time() < self._due:
            self._timer = self.loop.call_at(self._due, self._expire)
            return
        waiting = self.cycle is None or self._in_body or (self._in_head and self._head > 0)
        unread = self.transport.get_write_buffer_size() > 0
        if waiting or unread or not self.idle:
            self.transport.abort()

    def _close_if_idle(self) -> None:
        if self.idle and not self.transport.is_closing():
            self.transport.close()


def bounded(exchange_s: float) -> type[Connection]:
    """A class of connections whose requests may take `exchange_s` from their headers to their answer."""
    return type("BoundedConnection", (Connection,), {"exchange_s": exchange_s})
