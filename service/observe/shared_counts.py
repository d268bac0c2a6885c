"""Shared memory in which processes keep their metrics, so that any of them can serve the sums of all.

prometheus_client maps a file per process and type of metric. On a full disk, touching a new page of such a map raises
SIGBUS, which kills the process. Here each file is a link to anonymous memory (memfd), which no disk limits. It outlives
the process: its replacement continues the counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict, mmap_key

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PROCESS_VARIABLE = "ANYSOUND_METRICS_PROCESS"
KINDS = ("counter", "histogram", "gauge_livesum")
"""Types of the metrics that processes keep, as prometheus_client names their files."""
LIVE = "gauge_livesum"
BYTES = 1 << 16
"""Initial size; prometheus_client doubles it as needed."""


class SharedCounts:
    """Memory for the metrics of the named processes, which all of them inherit, and for gauges of the supervisor."""

    def __init__(self, folder: Path, processes: Iterable[str]) -> None:
        """Creates `folder`, which holds the links. Raises OSError."""
        folder.mkdir()
        self.folder = folder
        self._memory = {(process, kind): self._make(process, kind) for process in processes for kind in KINDS}
        self._own = self._make("supervisor", "gauge_sum")
        self._gauges = MmapedDict(str(folder / "gauge_sum_supervisor.db"))

    def _make(self, process: str, kind: str) -> int:
        memory = os.memfd_create(f"anysound-{kind}", os.MFD_CLOEXEC)
        os.ftruncate(memory, BYTES)
        (self.folder / f"{kind}_{process}.db").symlink_to(f"/proc/self/fd/{memory}")
        return memory

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that each process has to inherit, under the same numbers."""
        return (*self._memory.values(), self._own)

    def environment(self, process: str) -> dict[str, str]:
        """Environment variables that point a process to its memory."""
        return {FOLDER_VARIABLE: str(self.folder), PROCESS_VARIABLE: process}

    def ended(self, process: str) -> None:
        """Reset the gauges that only count living processes, such as requests in progress."""
        os.pwrite(self._memory[process, LIVE], bytes(8), 0)

    def set(self, name: str, help: str, labels: dict[str, str], value: float) -> None:
        """Set a gauge of the supervisor."""
        self._gauges.write_value(mmap_key(name, name, list(labels), list(labels.values()), help), value, 0.0)

    def close(self) -> None:
        self._gauges.close()
        for memory in self.descriptors:
            os.close(memory)


def attach() -> None:
    """Keep metrics that are created from now on in shared memory, if the supervisor gave this process some."""
    if (process := os.environ.get(PROCESS_VARIABLE)) is not None:
        values.ValueClass = values.MultiProcessValue(lambda: process)
