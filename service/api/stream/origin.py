"""Which pages may open a stream. Browsers let any page open a WebSocket anywhere; the check is the server's."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from service.api.problems import Code, Problem


def check_origin(headers: Headers, allowed: Collection[str]) -> None:
    """Raise Problem for a page of another host that is not among the `allowed` origins.

    A request without the header Origin comes from no browser.
    """
    origin = headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    if (host := urlsplit(origin).netloc) and host == headers.get("host", "").lower():
        return
    raise Problem(Code.FORBIDDEN_ORIGIN, f"Pages of {origin[:200]} may not open streams; see cors_origins.")
