"""Media types of request bodies and of parts of forms."""

from __future__ import annotations

FORM = "multipart/form-data"
JSON = "application/json"
RECORDINGS = ("application/octet-stream", "binary/octet-stream", "application/ogg")
"""Media types of recordings besides `audio/*` and `video/*`."""


def media_type(content_type: str) -> str:
    """The type of a Content-Type header, without its parameters, in lower case."""
    return content_type.split(";")[0].strip().lower()


def is_recording(kind: str) -> bool:
    """Whether the media type names a recording. The bytes decide what it really is."""
    return kind.startswith(("audio/", "video/")) or kind in RECORDINGS
