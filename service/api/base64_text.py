"""Base64 as clients send it."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

SLICE = 1 << 20
"""Characters decoded per call: one call for many megabytes would hold the interpreter's lock for too long."""
STANDARD = bytes.maketrans(b"-_", b"+/")
WHITESPACE = b" \t\r\n"


def decode_base64(text: str) -> bytes:
    """The bytes of a bare string or a data URI; wrapped or not, standard or URL-safe alphabet, padded or not.

    Raises ValueError for anything else.
    """
    start = 0
    if text.startswith("data:"):
        start = text.find(",") + 1
        if not text[:start].lower().endswith(";base64,"):
            raise ValueError("not a base64 data URI")
    return b"".join(_decoded(text, start))


def _decoded(text: str, start: int) -> Iterator[bytes]:
    rest = b""
    padded = False
    for begin in range(start, len(text), SLICE):
        # `encode` raises UnicodeEncodeError, which is a ValueError, for text that is not ASCII.
        piece = rest + text[begin : begin + SLICE].encode("ascii").translate(STANDARD, WHITESPACE)
        if piece and padded:
            raise ValueError("data after the padding")
        whole = len(piece) // 4 * 4
        padded = b"=" in piece[:whole]
        yield binascii.a2b_base64(piece[:whole], strict_mode=True) if whole else b""
        rest = piece[whole:]
    if rest:
        yield binascii.a2b_base64(rest + b"=" * (4 - len(rest)), strict_mode=True)
