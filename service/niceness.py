"""How processes that compute share cores with those that answer clients."""

from __future__ import annotations

import contextlib
import os

NICE = 5
"""A third of the weight of nice 0."""


def yield_to_others() -> None:
    """Give way to the processes that answer clients. This one computes, and milliseconds do not matter to it.

    On a contended core its threads get a third of the others' share, never preempt them, and run for longer at a time,
    which keeps their data in the core's cache.
    """
    os.nice(NICE)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not permitted
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
