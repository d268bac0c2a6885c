"""Memory between two batches: kept by the process, where the C library would hand it back."""

from __future__ import annotations

import ctypes

# Options of glibc's mallopt, as malloc.h numbers them.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8
NEVER = 2**31 - 1
LARGEST_KEPT = 32 << 20
"""Bytes of a block: glibc takes no higher threshold."""


def keep_freed_memory(spare: int | None = None) -> bool:
    """Let what a batch frees serve the next one; False where the C library is not glibc.

    glibc maps large blocks anew and unmaps them when they are freed: above 32 MiB always, from 128 KiB until it has
    learned better. A batch's activations are such blocks, and the kernel then clears a page for each 4 KiB of every
    batch: a quarter of the bundled encoder's time on CPU. Call it before threads are started.

    The process stays as large as its largest batch made it. With `spare`, blocks above 32 MiB still go back, and so
    does what is free at the heap's end above so many bytes: for processes that one large recording must not bloat.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1))
    if spare is not None:
        options = ((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, spare), (ARENA_MAX, 1))
    return all(mallopt(option, value) for option, value in options)
