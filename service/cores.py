"""How many cores this process may use, by its affinity and the cgroup's quota; and how it shares them."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
NICE = 5
"""A third of the weight of 0."""


def cores(cgroup: Path = CGROUP) -> int:
    """Whole cores, at least 1."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Cores' worth of time a period, from cgroup v2 or v1; None where there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except ValueError:
        return None
    return share if share > 0 else None


def yield_to_others() -> None:
    """Let processes that answer clients go first: this one computes, and milliseconds do not matter to it.

    Its threads get a third of the others' share of a core that is wanted by both, never interrupt them, and run for
    longer at a time, so that they find more of their data in the core's cache.
    """
    os.nice(NICE)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or not allowed
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
