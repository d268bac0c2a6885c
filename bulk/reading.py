"""The bytes of an item: in memory, or in a file where there are many."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from bulk.item import FetchError, Item, Place
from bulk.setup import ReaderSetup

if TYPE_CHECKING:
    import fsspec

IN_MEMORY_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20


@contextmanager
def opened(item: Item, setup: ReaderSetup) -> Iterator[tuple[bytes | Path, str]]:
    """An item's bytes, or the path of a file that holds them, and their SHA-256 in hex.

    Raises OSError, FetchError; whatever else a remote file system raises.
    """
    if item.place is Place.FILE:
        path = Path(item.location)
        with path.open("rb") as file:
            size = path.stat().st_size
            _check_size(size, setup.max_bytes)
            if size > IN_MEMORY_BYTES:
                yield path, hashlib.file_digest(file, "sha256").hexdigest()
                return
            with _gathered(iter(lambda: file.read(BLOCK_BYTES), b""), setup.max_bytes) as found:
                yield found
    elif item.place is Place.WEB:
        from bulk.web import fetch  # a reader of files starts faster without it

        with _gathered(fetch(item.location, setup.web), setup.web.max_bytes) as found:
            yield found
    else:
        with _blocks(item) as blocks, _gathered(blocks, setup.max_bytes) as found:
            yield found


@contextmanager
def _blocks(item: Item) -> Iterator[Iterator[bytes]]:
    """The blocks of a tar file's member, or of a remote file."""
    if item.place is Place.TAR and "://" not in item.location:
        with Path(item.location).open("rb") as file:
            yield _part(file, item.offset, item.size)
        return
    filesystem, path = remote(item.location)
    with filesystem.open(path, "rb", block_size=8 << 20, cache_type="readahead") as file:
        if item.place is Place.TAR:
            yield _part(file, item.offset, item.size)
        else:
            yield iter(lambda: file.read(BLOCK_BYTES), b"")


def _part(file: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    file.seek(offset)
    while size > 0:
        block = file.read(min(size, BLOCK_BYTES))
        if not block:
            raise FetchError("cut_off", "The tar file ends inside this member.")
        size -= len(block)
        yield block


@contextmanager
def _gathered(blocks: Iterable[bytes], max_bytes: int) -> Iterator[tuple[bytes | Path, str]]:
    """Blocks as bytes or, above `IN_MEMORY_BYTES`, in a temporary file; and their SHA-256."""
    digest = hashlib.sha256()
    held: list[bytes] = []  # joined, a single one is not copied
    file: IO[bytes] | None = None
    size = 0
    try:
        for block in blocks:
            digest.update(block)
            size += len(block)
            _check_size(size, max_bytes)
            if file is None and size > IN_MEMORY_BYTES:
                file = tempfile.NamedTemporaryFile(prefix="anysound-bulk-")  # noqa: SIM115 - closed below
                file.writelines(held)
                held.clear()
            if file is None:
                held.append(block)
            else:
                file.write(block)
        if file is None:
            yield b"".join(held), digest.hexdigest()
        else:
            file.flush()
            yield Path(file.name), digest.hexdigest()
    finally:
        if file is not None:
            file.close()


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FetchError("too_large", f"The file has more than {max_bytes:,} bytes.")


def remote(address: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of an address and the path in it. Raises ValueError that names a package to install."""
    import fsspec

    try:
        found: tuple[fsspec.AbstractFileSystem, str] = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ValueError(f"{address}: {error}") from None
    return found
