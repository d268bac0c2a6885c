"""One client's connection: it waits only so long for a request and for its answer to be read, and drops none when the
server stops."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.api.problems import Code, Problem, invalid, respond

HEAD_S = 5.0
"""How long the first line and the headers of a request may take; uvicorn itself waits for ever."""
HEAD_BYTES = 256 << 10
"""Of the first line and the headers; labels may stand in the query."""
URL_BYTES = 65_535
"""Of the path and the query; httptools parses no more."""
GRACE_S = 5.0
"""For what follows a request's time: its answer has to be read, the rest of a refused body to come."""
BODY_BYTES = 256 << 10
"""Of a body that are handed on together, as long as more comes."""
LINGER_S = 1.0
"""How long a connection without a request stays open once the server stops: one may be on its way."""


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with bounds on slow clients, and without its race between an idle client and the end.

    `exchange_s` is how long a request may take from its headers to its answer.
    """

    head_s = HEAD_S
    head_bytes = HEAD_BYTES
    grace_s = GRACE_S
    exchange_s = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
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
        if self._in_head and self._head > self.head_bytes:  # what came with the headers' end may be a body's begin
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._arm(self.exchange_s + self.grace_s)
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words say less
        """Called for a request that cannot be parsed, or whose path and query are too long for the parser."""
        problem = invalid("the request is not valid HTTP/1.1")
        if len(self.url) > URL_BYTES:
            detail = f"The path and the query may have {URL_BYTES} bytes together; send the labels in the body."
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
        cycle.body += body
        if len(cycle.body) >= BODY_BYTES:
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
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        waiting = self.cycle is None or self._in_body or (self._in_head and self._head > 0)
        unread = self.transport.get_write_buffer_size() > 0
        if waiting or unread or not self.idle:
            self.transport.abort()

    def _close_if_idle(self) -> None:
        if self.idle and not self.transport.is_closing():
            self.transport.close()


def bounded(exchange_s: float) -> type[Connection]:
    """Connections for requests that may take so long from their headers to their answer."""
    return type("BoundedConnection", (Connection,), {"exchange_s": exchange_s})
