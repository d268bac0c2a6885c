"""How many cores this process may use, by its CPU affinity and the cgroup's quota."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc/self/cgroup")
VARIABLE = "ANYSOUND_CORES"
MOST = 16
"""The limit unless the setting `cores` is higher: each core that computes takes memory for a batch of its own."""


def cores(cgroup: Path = CGROUP, proc: Path = PROC) -> int:
    """Whole cores to use, at least 1: the setting `cores`, else what affinity and quota allow, up to MOST."""
    if given := os.environ.get(VARIABLE):
        return int(given)
    allowed = len(os.sched_getaffinity(0))
    quota = min(_quotas(cgroup, proc), default=float(allowed))
    return max(1, min(allowed, math.ceil(quota), MOST))


def _quotas(cgroup: Path, proc: Path) -> Iterator[float]:
    """Cores' worth of time per period, of each cgroup above this process that has a quota. cgroup v2 and v1."""
    for folder in _folders(cgroup, proc):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            quota = (folder / "cpu.cfs_quota_us").read_text()
            if int(quota) > 0:
                yield int(quota) / int((folder / "cpu.cfs_period_us").read_text())


def _folders(cgroup: Path, proc: Path) -> Iterator[Path]:
    """Folders of this process' CPU cgroups and of their ancestors, up to the mount points.

    Without a cgroup namespace a container sees the host's paths, which do not exist; the mount point is then its own.
    """
    mounts = [cgroup, cgroup / "cpu", cgroup / "cpu,cpuacct"]
    yield from mounts
    with contextlib.suppress(OSError):
        for line in proc.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for mount in mounts:
                for depth in range(1, len(parts) + 1):
                    yield mount.joinpath(*parts[:depth])
