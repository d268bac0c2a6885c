"""The path prefix under which a reverse proxy serves the service, whether or not the proxy strips it."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send


class Prefix:
    """Pure ASGI: gives each request the path that the ASGI specification asks for, with `root_path` in front.

    A proxy that strips the prefix asks for `/docs`, others ask for `/sounds/docs`; routes match `/docs` for both.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path: str = scope["path"]
            if path != self.root_path and not path.startswith(f"{self.root_path}/"):
                path = self.root_path + path
            if path == self.root_path:
                path += "/"  # where the page is
            scope = {**scope, "path": path, "root_path": self.root_path}
        await self.app(scope, receive, send)
