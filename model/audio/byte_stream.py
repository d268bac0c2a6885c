"""Bytes in memory as the file that a decoder reads."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class ByteStream(io.RawIOBase):
    """A read-only file over a memoryview, without a copy.

    A seek beyond either end stops there: an exception inside a decoder's callback would be printed and lost.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        self._position = min(max(base + offset, 0), len(self._data))
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer) as view, view.cast("B") as out:
            chunk = self._data[self._position : self._position + len(out)]
            out[: len(chunk)] = chunk
        self._position += len(chunk)
        return len(chunk)
