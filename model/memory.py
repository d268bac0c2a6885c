"""Keep freed memory in the process between batches instead of returning it to the kernel."""

from __future__ import annotations

import ctypes

# Options of glibc's mallopt, as malloc.h numbers them.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8
NEVER = 2**31 - 1
LARGEST_KEPT = 32 << 20
"""The highest mmap threshold that glibc accepts, in bytes."""


def keep_freed_memory(spare: int | None = None) -> bool:
    """Make glibc reuse freed memory for the next batch. Returns False if the C library is not glibc.

    By default glibc maps large blocks anew and unmaps them when they are freed: always above 32 MiB, and from 128 KiB
    up until its threshold has adapted. A batch's activations are such blocks, so the kernel clears their pages in every
    batch, which took a quarter of the bundled encoder's time on CPU. Call this before threads are started.

    The process keeps as much memory as its largest batch took. With `spare`, blocks above 32 MiB are still returned,
    and so is free memory at the heap's end above `spare` bytes: for processes that one large recording must not enlarge
    for ever.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = ((MMAP_MAX, 0), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1))
    if spare is not None:
        options = ((MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, spare), (ARENA_MAX, 1))
    return all(mallopt(option, value) for option, value in options)
