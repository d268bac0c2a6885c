"""How long a worker may take to start, by the size of its model."""

from __future__ import annotations

from pathlib import Path

BASE_S = 120.0
"""For imports, warm-up and measurements on a slow, busy machine."""
CPU_BYTES_PER_S = 4 << 20
"""Of weights: reading them from slow storage, and a longer warm-up of larger models."""
GPU_BYTES_PER_S = 16 << 20


def start_limit_s(checkpoint: Path, device: str) -> float:
    """Time limit in seconds for a worker on `device` that loads the checkpoint directory."""
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    return BASE_S + size / (GPU_BYTES_PER_S if device.startswith("cuda") else CPU_BYTES_PER_S)
