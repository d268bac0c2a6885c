"""Around every request: its id, its bounds in bytes and seconds, its headers, its metrics and its log line."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette._utils import get_route_path
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.classify import Timings
from service.api.problems import Code, Problem, respond
from service.observe.logs import REQUEST_ID
from service.observe.metrics import IN_PROGRESS, REJECTED, REQUEST_DURATION, STAGE_DURATION
from service.observe.traces import Traces
from service.settings import Settings

log = logging.getLogger("anysound.access")

HARMLESS_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
BUSY_S = 1
"""When to come back while too many bodies are in memory; they are gone with the requests they belong to."""
METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
OWN_SCRIPTS = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"
"""What an answer may load if it is opened as a page: nothing, but for the documentation, which has its scripts here."""


def request_id(headers: Headers) -> str:
    """The caller's id where it is harmless, else a new one."""
    given = headers.get("x-request-id", "")
    return given if HARMLESS_ID.fullmatch(given) else uuid.uuid4().hex


def route_of(scope: Scope) -> str:
    """The route's template, never the path that was asked for: a metric's labels must stay few."""
    route = scope.get("route")
    return getattr(route, "path", "unknown")


def server_timing(timings: Timings, total_s: float) -> str:
    stages = [f"{stage};dur={seconds * 1e3:.2f}" for stage, seconds in timings.stages.items()]
    return ", ".join([*stages, f"total;dur={total_s * 1e3:.2f}"])


class InFlight:
    """Bytes of all bodies that are being received or worked on: many clients must not fill the memory together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, count: int) -> bool:
        """Hold so many more; False where that is over the limit. Either way they are to be given back."""
        self._held += count
        return self._held <= self._limit

    def give_back(self, count: int) -> None:
        self._held -= count


class Access:
    """Pure ASGI: a body that streams is bounded while it streams, whatever Content-Length said."""

    def __init__(self, app: ASGIApp, settings: Settings, traces: Traces | None = None) -> None:
        self.traces = traces
        self.app = app
        self.settings = settings
        self.in_flight = InFlight(settings.max_inflight_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self.settings.max_upload_bytes, self.in_flight)
        REQUEST_ID.set(exchange.id)
        IN_PROGRESS.inc()
        try:
            async with asyncio.timeout(self.settings.request_timeout_s):
                await exchange.run(self.app)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except TimeoutError:
            await exchange.end_with(Problem(Code.DEADLINE_EXCEEDED, "The request took too long."))
        except Exception:
            log.exception("the request failed")
            await exchange.end_with(Problem(Code.INTERNAL, "The service failed."))
        finally:
            IN_PROGRESS.dec()
            exchange.release()
            exchange.record(self.traces)


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, max_bytes: int, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._scope = scope
        self._receive = receive
        self._send = send
        self._max_bytes = max_bytes
        self._began = time.perf_counter()
        self._bytes = self._held = 0
        self._body_ended = asyncio.Event()
        self._answered = False
        self.headers = Headers(scope=scope)
        self.id = request_id(self.headers)
        self.status = 0
        self.timings = Timings()
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = self.id
        state["timings"] = self.timings

    async def run(self, app: ASGIApp) -> None:
        """Let `app` answer, and stop it when the client goes away: nobody would read what it works on."""
        answering = asyncio.ensure_future(app(self._scope, self.receive, self.send))
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
        """Raises HTTPException: 413 as soon as the body is over its limit, 503 where all bodies together are."""
        if self._body_ended.is_set():
            await asyncio.Event().wait()  # until `run` sees the client go
        declared = self.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise HTTPException(413)
        message = await self._receive()
        if message["type"] == "http.request":
            length = len(message.get("body", b""))
            self._bytes += length
            if self._bytes > self._max_bytes:
                raise HTTPException(413)
            self._held += length
            if not self._in_flight.take(length):
                raise HTTPException(503, headers={"Retry-After": str(BUSY_S)})
            if not message.get("more_body", False):
                self._body_ended.set()
        return message

    def release(self) -> None:
        """The body is no longer held."""
        self._in_flight.give_back(self._held)
        self._held = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.id
            headers["Server-Timing"] = server_timing(self.timings, time.perf_counter() - self._began)
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            is_page = get_route_path(self._scope).startswith("/docs")
            headers.setdefault("Content-Security-Policy", OWN_SCRIPTS if is_page else NOTHING)
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)

    async def end_with(self, problem: Problem) -> None:
        """Answer with a problem, unless the answer has begun."""
        if self.status == 0:
            REJECTED.labels(problem.code.code).inc()
            await respond(problem, self.id)(self._scope, self._receive, self.send)

    def record(self, traces: Traces | None) -> None:
        """Metrics, one line and one trace, without a prompt, a file name or a key in them."""
        seconds = time.perf_counter() - self._began
        route, method = route_of(self._scope), self._scope["method"]
        method = method if method in METHODS else "other"
        REQUEST_DURATION.labels(route, method, self.status or 499).observe(seconds)
        for stage, duration in self.timings.stages.items():
            STAGE_DURATION.labels(stage).observe(duration)
        if route in ("/livez", "/readyz", "/startupz", "/metrics"):
            return
        if traces is not None:
            attributes = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": self.status or 499,
                "anysound.request_id": self.id,
            }
            traces.record(f"{method} {route}", self.headers, seconds, self.timings.stages, attributes)
        line = {
            "request_id": self.id,
            "method": method,
            "route": route,
            "status": self.status or 499,
            "ms": round(seconds * 1e3, 2),
            "bytes": self._bytes,
            **{f"{stage}_ms": round(duration * 1e3, 2) for stage, duration in self.timings.stages.items()},
        }
        log.info("%s", " ".join(f"{name}={value}" for name, value in line.items()), extra={"fields": line})
