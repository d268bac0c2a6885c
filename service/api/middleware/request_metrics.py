"""Counts and times of requests, for Prometheus."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of
from service.observe.metrics import IN_PROGRESS, REQUEST_DURATION, STAGE_DURATION


class RequestMetrics:
    """ASGI middleware: counts each request while it runs, and observes its times when it has ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        IN_PROGRESS.inc()
        try:
            await self.app(scope, receive, send)
        finally:
            IN_PROGRESS.dec()
            exchange = exchange_of(scope)
            REQUEST_DURATION.labels(exchange.route, exchange.method, exchange.status).observe(exchange.seconds)
            for stage, seconds in exchange.stages.seconds.items():
                STAGE_DURATION.labels(stage).observe(seconds)
