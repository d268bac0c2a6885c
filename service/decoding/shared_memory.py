"""Memory that the API process and one decoder map: clips go in, windows come out, nothing is piped."""

from __future__ import annotations

import fcntl
import mmap
import os

KEPT_BYTES = 4 << 20
"""Pages kept between clips; those that a longer clip needed are freed after it."""


class SharedMemory:
    """An anonymous file (memfd). The API process creates and grows it; the decoder maps what it is told to."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("anysound-clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            # Touching truncated pages raises SIGBUS, so shrinking is sealed; so is adding seals.
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.descriptor = descriptor
        self.size = 0
        self._map: mmap.mmap

    def grow(self, size: int) -> None:
        """Make room for `size` bytes. Pages take memory only once they are written."""
        if size > self.size:
            size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.descriptor, size)
            self.map(size)

    def map(self, size: int) -> memoryview:
        """A view of the first `size` bytes, which both processes see."""
        if size > self.size:
            self._map, self.size = mmap.mmap(self.descriptor, size), size
        return memoryview(self._map)[:size]

    def trim(self) -> None:
        """Free the pages above `KEPT_BYTES`; they read as zeros afterwards."""
        if self.size > KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES, self.size - KEPT_BYTES)

    def close(self) -> None:
        """Close the descriptor. The memory is freed when nothing maps it any more."""
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)
