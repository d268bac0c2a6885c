"""The files of the page, as they are answered: read once, compressed once, each with an ETag of its content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).with_name("page")
INDEX = "index.html"
TYPES = {".js": "text/javascript", ".flac": "audio/flac", ".wav": "audio/wav"}
"""Media types that must not depend on the machine's own list."""
COMPRESSED = {".html", ".css", ".js", ".svg", ".json", ".md", ""}


@dataclass(frozen=True)
class PageFile:
    """One file; `compressed` is its gzip form, None for a recording or an image."""

    content: bytes
    compressed: bytes | None
    media_type: str
    etag: str

    @classmethod
    def of(cls, name: str, content: bytes) -> PageFile:
        suffix = Path(name).suffix
        compressed = gzip.compress(content, mtime=0) if suffix in COMPRESSED else None
        media_type = TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "text/plain"
        return cls(content, compressed, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request) -> Response:
        """The file, or 304 if the client has it. Browsers ask each time, so that no page mixes two versions."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        known = {etag.strip().removeprefix("W/") for etag in request.headers.get("if-none-match", "").split(",")}
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        content = self.content
        if self.compressed is not None and accepts_gzip(request.headers.get("accept-encoding", "")):
            content = self.compressed
            headers["Content-Encoding"] = "gzip"
        return Response(content, headers=headers, media_type=self.media_type)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for offer in accept_encoding.lower().split(","):
        coding, _, weight = offer.replace(" ", "").partition(";")
        if coding == "gzip":
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def read_page(root_path: str) -> dict[str, PageFile]:
    """Every file of the page by its path under `/page/`. `root_path` is the prefix of the page's own address."""
    files = {}
    for path in (*FOLDER.glob("*"), *FOLDER.glob("*/*")):
        if path.is_file():
            name = path.relative_to(FOLDER).as_posix()
            content = path.read_bytes()
            if name == INDEX:
                content = content.replace(b'<base href="/">', f'<base href="{root_path}/">'.encode())
            files[name] = PageFile.of(name, content)
    return files
