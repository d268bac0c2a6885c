"""Compressed bodies are refused: recordings are compressed already, and a small body could expand to any size."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of
from service.api.problems import Code, Problem, respond
from service.observe.metrics import REJECTED


class ContentEncoding:
    """ASGI middleware: answers 415 to a request whose Content-Encoding is not `identity`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            encoding = Headers(scope=scope).get("content-encoding", "").strip().lower()
            if encoding not in ("", "identity"):
                detail = f"The body has Content-Encoding {encoding[:100]!r}; send it as it is."
                problem = Problem(Code.UNSUPPORTED_AUDIO, detail, headers={"Accept-Encoding": "identity"})
                REJECTED.labels(problem.code.code).inc()
                exchange = exchange_of(scope)
                await respond(problem, exchange.id, exchange.path)(scope, receive, send)
                return
        await self.app(scope, receive, send)
