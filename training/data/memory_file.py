"""Arrays handed from process to process in anonymous memory files.

torch and multiprocessing share memory through files in /dev/shm, of which a container has 64 MiB by default (Docker);
writing beyond its size raises SIGBUS. Memory files (memfd_create) are bounded by the machine's memory only.
"""

from __future__ import annotations

import mmap
import os
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import numpy.typing as npt

AVAILABLE = hasattr(os, "memfd_create")

Array = npt.NDArray[Any]


class MemoryFile:
    """An array's content in a memory file. Pickled by multiprocessing it sends the file and no copy."""

    def __init__(self, array: Array) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        descriptor = os.memfd_create("anysound-batch", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            array.tofile(file)
            self._handle: Any = DupFd(descriptor)

    def take(self) -> Array:
        """The array, mapped into this process; the memory is freed with it. Call it once."""
        descriptor = self._handle.detach()
        try:
            size = int(np.prod(self.shape)) * self.dtype.itemsize
            mapped = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        return np.frombuffer(mapped, self.dtype).reshape(self.shape)
