"""Headers that tell a browser what it may do with an answer."""

from __future__ import annotations

from starlette._utils import get_route_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
POLICY = b"content-security-policy"
NOTHING = (*HEADERS, (POLICY, b"default-src 'none'; frame-ancestors 'none'"))
OWN_SCRIPTS = (*HEADERS, (POLICY, b"default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"))
"""An answer that is opened as a page may load nothing, except the documentation, whose scripts are served here."""


class SecurityHeaders:
    """ASGI middleware: sets the headers that the application has not set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                ours = OWN_SCRIPTS if get_route_path(scope).startswith("/docs") else NOTHING
                message["headers"] = [*message["headers"], *(each for each in ours if each[0] not in present)]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)
