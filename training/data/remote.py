"""Files at URLs, read in ranges through fsspec, and what a `pipe:` command prints, kept in a folder.

A read is repeated when it fails, comes back short or takes too long: object stores answer 503 when they are busy, and
connections break. fsspec takes credentials and endpoints from the environment, as the tools of each store do.
"""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from filelock import FileLock
from fsspec.asyn import AsyncFileSystem, sync

log = logging.getLogger(__name__)

ATTEMPTS = 8
ATTEMPT_S = 60.0
"""Time after which a read is given up and repeated."""
BLOCK = 1 << 20
COPIES = 32
"""Outputs of `pipe:` commands that are kept; the one that was used longest ago is deleted first."""

Result = TypeVar("Result")


def is_url(location: str) -> bool:
    return "://" in location or is_pipe(location)


def is_pipe(location: str) -> bool:
    return location.startswith("pipe:")


def repeated(read: Callable[[], Result], what: str) -> Result:
    """`read`'s result, tried again with growing pauses. Raises OSError once it failed `ATTEMPTS` times."""
    for attempt in range(ATTEMPTS):
        try:
            return read()
        except (FileNotFoundError, PermissionError, ModuleNotFoundError, ValueError):
            raise
        except Exception as error:  # each store's library raises exceptions of its own
            if attempt + 1 == ATTEMPTS:
                raise OSError(f"{what} cannot be read, {ATTEMPTS} attempts: {error!r}") from error
            log.debug("%s: %r; trying again", what, error)
            time.sleep(min(0.1 * 2**attempt, 5.0) * random.uniform(0.5, 1.0))
    raise AssertionError


def read_range(url: str, offset: int, size: int) -> bytes:
    """`size` bytes of the file at `url` from `offset` on. Raises OSError."""

    def read() -> bytes:
        files, path = fsspec.core.url_to_fs(url)
        if isinstance(files, AsyncFileSystem):
            found = sync(files.loop, files._cat_file, path, start=offset, end=offset + size, timeout=ATTEMPT_S)
        else:
            found = files.cat_file(path, start=offset, end=offset + size)
        if len(found) != size:
            raise OSError(f"{len(found)} of {size} bytes came back")
        return bytes(found)

    return repeated(read, url)


def size_of(url: str) -> int:
    """The size of the file at `url`, in bytes. Raises OSError."""

    def read() -> int:
        files, path = fsspec.core.url_to_fs(url)
        size = files.info(path)["size"]
        if size is None:
            raise ValueError(f"{url}: the server does not say how large it is")
        return int(size)

    return repeated(read, url)


def listed(url: str, pattern: str) -> list[str]:
    """The files in the folder `url` that match `pattern`, by name. Raises OSError."""

    def read() -> list[str]:
        files, path = fsspec.core.url_to_fs(url)
        return sorted(files.unstrip_protocol(found) for found in files.glob(f"{path.rstrip('/')}/{pattern}"))

    return repeated(read, url)


class RangeFile(io.RawIOBase):
    """The file at `url` to read and seek in; it is fetched a block at a time, and only where it is read."""

    def __init__(self, url: str) -> None:
        self.url, self.size = url, size_of(url)
        self._place, self._first, self._block = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer)
        if not self._first <= self._place < self._first + len(self._block):
            self._first = self._place
            self._block = read_range(self.url, self._first, max(0, min(BLOCK, self.size - self._first)))
        part = self._block[self._place - self._first :][: len(into)]
        into[: len(part)] = part
        self._place += len(part)
        return len(part)


def kept(command: str, path: Path) -> Path:
    """`path` with the output of the `pipe:` command, which runs unless it is there. Raises OSError."""
    from webdataset.gopen import gopen  # an extra's, which loose files do not need

    if path.exists():
        path.touch()
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.exists():
            return path
        copies = sorted(path.parent.glob("*.tar"), key=lambda copy: copy.stat().st_mtime)
        for old in copies[: len(copies) - COPIES + 1]:
            old.unlink(missing_ok=True)
        partial = path.with_suffix(".partial")

        def copy() -> None:
            with gopen(command) as stream, partial.open("wb") as file:
                while block := stream.read(BLOCK):
                    file.write(block)
            partial.replace(path)

        repeated(copy, command)
    return path
