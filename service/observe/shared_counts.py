"""Where processes keep their metrics, so that any one of them can serve the sums of all.

prometheus_client maps a file per process and type of metric. On a full disk, touching a new page of such a map raises
SIGBUS, which kills the process. Here each file is a link to anonymous memory (memfd), which no disk limits. It outlives
the process: the one that replaces it counts on.
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
"""Of the metrics that processes count: a file each. The names are prometheus_client's."""
LIVE = "gauge_livesum"
BYTES = 1 << 16
"""To begin with; prometheus_client doubles it as needed."""


class SharedCounts:
    """Memory for the metrics of the named processes, which all of them inherit, and for gauges of this process."""

    def __init__(self, folder: Path, processes: Iterable[str]) -> None:
        """`folder` is made; it holds the links. Raises OSError."""
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
        """What each of the processes has to inherit, under the same numbers."""
        return (*self._memory.values(), self._own)

    def environment(self, process: str) -> dict[str, str]:
        """Variables by which a process finds its memory."""
        return {FOLDER_VARIABLE: str(self.folder), PROCESS_VARIABLE: process}

    def ended(self, process: str) -> None:
        """Forget what is true of a living process only: the number of requests that it was answering."""
        os.pwrite(self._memory[process, LIVE], bytes(8), 0)

    def set(self, name: str, help: str, labels: dict[str, str], value: float) -> None:
        """Set a gauge of this process."""
        self._gauges.write_value(mmap_key(name, name, list(labels), list(labels.values()), help), value, 0.0)

    def close(self) -> None:
        self._gauges.close()
        for memory in self.descriptors:
            os.close(memory)


def attach() -> None:
    """Let the metrics that are made from now on count in shared memory, if the supervisor gave this process some."""
    if (process := os.environ.get(PROCESS_VARIABLE)) is not None:
        values.ValueClass = values.MultiProcessValue(lambda: process)
