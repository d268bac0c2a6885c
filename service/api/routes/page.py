"""`GET /`: the page, and its files under `/page/`. They need no key."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.api.page_files import INDEX, read_page

WAVESURFER_STYLE = "'sha256-7Wn/5ghbhb9U5yM332FZpa4jDUilNGJdZ87eJ6XZFBA='"
"""Hash of the style that wavesurfer puts into its shadow root, at the height that waveform.js gives it."""
POLICY = "; ".join(
    [
        "default-src 'self'",
        f"style-src 'self' {WAVESURFER_STYLE}",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
PERMISSIONS = "microphone=(self), camera=(), geolocation=()"


def page_routes(root_path: str) -> APIRouter:
    """The routes of a page that is served under the prefix `root_path`."""
    router = APIRouter(include_in_schema=False)
    files = read_page(root_path)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        answer = files[INDEX].answer(request)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Permissions-Policy"] = PERMISSIONS
        return answer

    @router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    async def page_file(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return files[name].answer(request)

    return router
