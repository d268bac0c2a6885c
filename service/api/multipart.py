"""`multipart/form-data` (RFC 7578), read in memory. The middleware limits the body, this module its parts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from service.api.media_type import is_recording, media_type
from service.api.problems import invalid

MAX_FIELDS = 20_000
MAX_TEXT_BYTES = 16 << 20
"""Limit on all text fields together, in bytes. As Python text they may take four times as much."""
EXTENDED_NAME = re.compile(rb"""filename\*\s*=\s*"?([\w-]+)'[^']*'([^;\s"]+)""", re.IGNORECASE)
"""RFC 5987, which RFC 7578 forbids and clients send."""


@dataclass
class Part:
    """A file, if it has a file name or the content type of a recording, else a text field."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    is_file: bool = False
    data: bytearray = field(default_factory=bytearray)

    @property
    def text(self) -> str:
        return decoded(self.data)

    def identify(self) -> None:
        """Read the headers. Raises Problem for a part without a name."""
        disposition = self.headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise invalid("a part of the form has no name in its Content-Disposition header")
        self.name = decoded(options[b"name"])
        if b"filename" in options:
            self.filename = decoded(options[b"filename"])
        elif match := EXTENDED_NAME.search(disposition):
            charset = "latin-1" if match[1].lower() == b"iso-8859-1" else "utf-8"
            self.filename = unquote_to_bytes(match[2]).decode(charset, errors="replace")
        content_type = self.headers.get(b"content-type", b"").decode("latin-1")
        self.is_file = self.filename is not None or is_recording(media_type(content_type))


def decoded(data: bytes | bytearray) -> str:
    """UTF-8, whatever charset a header names (RFC 7578, section 5.1.2), else Latin-1."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


async def read_form(request: Request, max_files: Mapping[str, int]) -> list[Part]:
    """The parts in order. Raises Problem with the reason if the form cannot be read.

    `max_files` is how many files there may be of a field, by what its name has before the first dot.
    """
    _, options = parse_options_header(request.headers["content-type"])
    if not options.get(b"boundary"):
        raise invalid("the Content-Type header has no boundary; let the HTTP client write this header")
    form = _Form(max_files)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for chunk in request.stream():
            if chunk:
                parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise invalid(f"the body is not valid multipart/form-data: {error}") from None
    return form.parts


class _Form:
    """Callbacks of python-multipart's parser."""

    def __init__(self, max_files: Mapping[str, int]) -> None:
        self._max_files = max_files
        self._files: Counter[str] = Counter()
        self._fields = self._text_bytes = 0
        self._header_name = self._header_value = b""
        self._part = Part()
        self.parts: list[Part] = []

    def callbacks(self) -> Any:
        named: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header_name,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
        }
        return named

    def _begin(self) -> None:
        self._part = Part()

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header(self) -> None:
        self._part.headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers(self) -> None:
        self._part.identify()
        if self._part.is_file:
            kind = self._part.name.partition(".")[0]
            limit = self._max_files.get(kind)
            if limit is None:
                raise invalid(f"{self._part.name[:100]}: an unknown file field; recordings go into `audio`")
            self._files[kind] += 1
            if self._files[kind] > limit:
                raise invalid(f"{kind}: more than {limit} files, the limit is {limit}")
        else:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise invalid(f"the form has more than {MAX_FIELDS} fields")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if not self._part.is_file:
            self._text_bytes += end - start
            if self._text_bytes > MAX_TEXT_BYTES:
                raise invalid(f"the form's text fields have more than {MAX_TEXT_BYTES} bytes together")
        self._part.data += data[start:end]

    def _end(self) -> None:
        self.parts.append(self._part)
