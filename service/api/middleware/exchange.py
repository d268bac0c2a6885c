"""One request and its answer, as the log, the metrics and the traces report them."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observe.logs import REQUEST_ID
from service.observe.stages import Stages, recording

HARMLESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
CLIENT_LEFT = 499
UNREPORTED = {"/livez", "/readyz", "/startupz", "/metrics", "/v2/health/live", "/v2/health/ready"}
"""Routes that are polled every few seconds: their requests are counted, but neither logged nor traced."""


class Exchange:
    """Facts about one request, filled in while it is served."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.headers = Headers(scope=scope)
        self.id = request_id(self.headers)
        self.stages = Stages()
        self.received_bytes = 0
        self.answer_status: int | None = None
        self.caller: str | None = None
        """Name of the key's owner, once the gate has let the request in; None if no key is needed."""

    @property
    def status(self) -> int:
        """Status of the answer; `CLIENT_LEFT` if the client left before there was one."""
        return self.answer_status or CLIENT_LEFT

    @property
    def method(self) -> str:
        """`other` for a method that HTTP does not define: a metric's labels must stay few."""
        method: str = self._scope["method"]
        return method if method in METHODS else "other"

    @property
    def path(self) -> str:
        """The path that the client asked for, without the prefix of a proxy."""
        return get_route_path(self._scope)

    @property
    def route(self) -> str:
        """The route's template, never the path that the client sent."""
        return getattr(self._scope.get("route"), "path", "unknown")

    @property
    def reported(self) -> bool:
        """Whether the request is logged and traced."""
        return self.route not in UNREPORTED

    @property
    def seconds(self) -> float:
        """Time since the request's first byte."""
        return time.perf_counter() - self.stages.began


def request_id(headers: Headers) -> str:
    """The X-Request-ID of the caller if it is short and plain, else a new one."""
    given = headers.get("x-request-id", "")
    return given if HARMLESS_ID.fullmatch(given) else uuid.uuid4().hex


def server_timing(exchange: Exchange) -> str:
    """The value of the header Server-Timing: each stage and the total, in milliseconds."""
    stages = [f"{stage};dur={seconds * 1e3:.2f}" for stage, seconds in exchange.stages.seconds.items()]
    return ", ".join([*stages, f"total;dur={exchange.seconds * 1e3:.2f}"])


class Exchanges:
    """ASGI middleware: opens an exchange for each request, and puts its id and its times on the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope)
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["exchange"] = exchange

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.answer_status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = exchange.id
                headers["Server-Timing"] = server_timing(exchange)
            await send(message)

        REQUEST_ID.set(exchange.id)
        with recording(exchange.stages):
            await self.app(scope, receive, send_with_headers)


def exchange_of(scope: Scope) -> Exchange:
    """The exchange that `Exchanges` opened for this request."""
    exchange: Exchange = scope["state"]["exchange"]
    return exchange
