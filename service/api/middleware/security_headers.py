"""Headers that tell a browser what it may do with an answer."""

from __future__ import annotations

from starlette._utils import get_route_path
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
NOTHING = "default-src 'none'; frame-ancestors 'none'"
OWN_SCRIPTS = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"
"""An answer that is opened as a page may load nothing, except the documentation, whose scripts are served here."""


class SecurityHeaders:
    """ASGI middleware: sets the headers that the application has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                is_page = get_route_path(scope).startswith("/docs")
                headers.setdefault("Content-Security-Policy", OWN_SCRIPTS if is_page else NOTHING)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
