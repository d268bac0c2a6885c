"""One log line per request, without a prompt, a file name or a key in it."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.exchange import Exchange, exchange_of

log = logging.getLogger("anysound.access")


class AccessLog:
    """ASGI middleware: logs each request when it has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http" and (exchange := exchange_of(scope)).reported:
                write(exchange)


def write(exchange: Exchange) -> None:
    """Log the line of a request that has ended."""
    fields = {
        "request_id": exchange.id,
        "method": exchange.method,
        "route": exchange.route,
        "status": exchange.status,
        "ms": round(exchange.seconds * 1e3, 2),
        "bytes": exchange.received_bytes,
        **{f"{stage}_ms": round(seconds * 1e3, 2) for stage, seconds in exchange.stages.seconds.items()},
    }
    log.info("%s", " ".join(f"{name}={value}" for name, value in fields.items()), extra={"fields": fields})
