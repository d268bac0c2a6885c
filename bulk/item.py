"""One recording of a collection: where it is, and the name that its rows have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Place(StrEnum):
    """How an item's bytes are read."""

    FILE = "file"
    TAR = "tar"
    REMOTE = "remote"
    WEB = "web"


@dataclass(frozen=True, slots=True)
class Item:
    """`path` names the item in the output and identifies it when a run is resumed.

    `location` is a local path, or an address for `REMOTE` (fsspec) and `WEB` (HTTP). For a member of a tar file it is
    the tar file's, local or remote, and `offset` and `size` give the position of the member's bytes.
    """

    path: str
    place: Place
    location: str
    offset: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no scores: a short reason to count by, and a sentence."""

    reason: str
    detail: str


class FetchError(Exception):
    """An item whose bytes cannot be had: a short reason, and a sentence without what a server said."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail
