"""Embed recordings and prompts with a loaded checkpoint, in the calling process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from model.audio import Limits, Source, load
from model.checkpoint import Checkpoint
from model.prompts import Embeddings
from model.windows import Samples, Starts, cut


def clip_windows(source: Source, checkpoint: Checkpoint, limits: Limits | None = None) -> tuple[Samples, Starts]:
    """Read a clip and cut it as the checkpoint says: windows [k, samples], starts [k] in samples. Raises AudioError."""
    front_end = checkpoint.config.front_end
    samples = load(source, front_end.sample_rate, limits)
    return cut(samples, front_end.window_samples, front_end.window_hop_samples, front_end.padding)


@torch.inference_mode()
def embed_windows(checkpoint: Checkpoint, windows: Samples, batch: int = 32) -> Embeddings:
    """Windows [n, samples] -> L2-normalised embeddings [n, joint_dim]."""
    device = checkpoint.model.logit_scale.device
    parts = [
        checkpoint.model.embed_audio(torch.from_numpy(windows[start : start + batch]).to(device)).cpu().numpy()
        for start in range(0, len(windows), batch)
    ]
    return np.concatenate(parts)


@torch.inference_mode()
def embed_prompts(checkpoint: Checkpoint, prompts: Sequence[str], batch: int = 128) -> Embeddings:
    """n prompts -> L2-normalised embeddings [n, joint_dim]."""
    device = checkpoint.model.logit_scale.device
    parts = []
    for start in range(0, len(prompts), batch):
        tokens = checkpoint.tokenizer(prompts[start : start + batch])
        tokens = {name: ids.to(device) for name, ids in tokens.items()}
        parts.append(checkpoint.model.embed_text(tokens).cpu().numpy())
    return np.concatenate(parts)
