"""One span per request, with a span for each of its stages."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.middleware.exchange import exchange_of
from service.observe.traces import Traces


class RequestTraces:
    """ASGI middleware: hands each request to `traces` when it has ended."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self.app = app
        self.traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "http" and (exchange := exchange_of(scope)).reported:
                attributes: dict[str, str | int] = {
                    "http.request.method": exchange.method,
                    "http.route": exchange.route,
                    "http.response.status_code": exchange.status,
                    "anysound.request_id": exchange.id,
                }
                name = f"{exchange.method} {exchange.route}"
                self.traces.record(name, exchange.headers, exchange.seconds, exchange.stages.seconds, attributes)
