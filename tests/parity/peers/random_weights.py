"""What every peer script needs, with nothing of this project: clips, prompts, weights that hide no mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch


def clips(work: Path) -> list[tuple[Path, np.ndarray]]:
    """The recordings in WORK/clips, by name: mono, at the model's rate, at most its length."""
    return [(path, soundfile.read(path, dtype="float32")[0]) for path in sorted((work / "clips").glob("*.wav"))]


def prompts(work: Path) -> list[str]:
    return list(json.loads((work / "prompts.json").read_text()))


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Every weight and statistic that a file could misplace gets a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "spectrogram_extractor" in name or "logmel_extractor" in name or not value.is_floating_point():
                continue
            if name.startswith("logit_scale"):
                value.fill_(3.0 if name != "logit_scale_t" else 2.0)
            elif value.ndim == 1:
                value.add_(torch.randn(value.shape, generator=generator) * 0.1)
            elif "bias_table" in name:
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            elif name.endswith("num_batches_tracked"):
                value.fill_(7)


def write(work: Path, **arrays: Any) -> None:
    np.savez(work / "peer.npz", **{name: np.asarray(value) for name, value in arrays.items()})
