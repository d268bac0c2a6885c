"""Files that a failed download leaves in place of weights."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 512


def stand_in(path: Path) -> str | None:
    """Recognise a Git LFS pointer or an HTML page in place of weights, in words; None for anything else.

    Raises OSError if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer instead of the file itself: run `git lfs pull`, or download it from the hub"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "is an HTML page instead of weights: open its address in a browser to see what the server says"
    return None
