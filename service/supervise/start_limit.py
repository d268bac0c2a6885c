"""The time limit on starting a worker, which grows with the size of its model."""

from __future__ import annotations

from pathlib import Path

BASE_S = 120.0
"""Time for imports, warm-up and measurements on a slow, busy machine."""
CPU_BYTES_PER_S = 4 << 20
"""Size of the checkpoint per second of further time, for slow storage and the longer warm-up of larger models."""
GPU_BYTES_PER_S = 16 << 20


def start_limit_s(checkpoint: Path, device: str) -> float:
    """Time limit in seconds for a worker on `device` that loads the checkpoint directory."""
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    return BASE_S + size / (GPU_BYTES_PER_S if device.startswith("cuda") else CPU_BYTES_PER_S)
