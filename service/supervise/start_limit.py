"""How long a worker may take to get ready, by the size of its model."""

from __future__ import annotations

from pathlib import Path

BASE_S = 120.0
"""Imports, warm-up and measuring, on a slow and busy machine."""
CPU_BYTES_PER_S = 4 << 20
"""Of weights, from a slow network disk to a warm model."""
GPU_BYTES_PER_S = 16 << 20


def start_limit_s(checkpoint: Path, device: str) -> float:
    """Seconds for a worker on `device` with the checkpoint directory, whose files are its weights and tokenizer."""
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    return BASE_S + size / (GPU_BYTES_PER_S if device.startswith("cuda") else CPU_BYTES_PER_S)
