"""Distillation: a compact encoder is trained to reproduce the outputs of the tagger.

Teacher and student get the same windows. The loss has four parts: the cosine to the teacher's embedding in the joint
space, the KL divergence of the two distributions over classes there, and the distances to the teacher's features and
class logits, which the student predicts through a linear layer that the checkpoint does not keep. Only outputs of the
tagger are used, never its weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import AudioEncoder
from training.tagging.space import JointSpace

SHARPNESS = 20.0
"""Scale of the cosines in the softmax over classes."""


class Targets(NamedTuple):
    """Outputs for n windows; features and logits are standardised over recordings."""

    embeddings: Tensor
    features: Tensor
    logits: Tensor


class Teacher:
    """Turns the tagger's outputs into targets."""

    def __init__(self, space: JointSpace, features: Tensor, logits: Tensor) -> None:
        self.space = space
        self._units = [(part.mean(dim=0), part.std(dim=0).clamp(min=1e-4)) for part in (features, logits)]

    def targets(self, features: Tensor, logits: Tensor) -> Targets:
        units = [(part - mean) / unit for part, (mean, unit) in zip((features, logits), self._units, strict=True)]
        return Targets(self.space.embed(features), *units)


class Student(nn.Module):
    """The encoder in training, with the layer that predicts the tagger's features and logits."""

    def __init__(self, encoder: AudioEncoder, features: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.read = nn.Linear(encoder.base.embedding_dim, features + classes)
        self.features = features

    def forward(self, windows: Tensor) -> Targets:
        """Windows [n, samples] -> predicted targets."""
        own = self.encoder.base(windows)
        read = self.read(own)
        embeddings = F.normalize(self.encoder.projection(own), dim=-1)
        return Targets(embeddings, read[:, : self.features], read[:, self.features :])


def losses(given: Targets, wanted: Targets, classes: Tensor) -> dict[str, Tensor]:
    """The parts of the loss by name; `classes` are directions [c, d] in the joint space."""
    order = (SHARPNESS * wanted.embeddings @ classes.T).softmax(dim=1)
    return {
        "embedding": 1 - (given.embeddings * wanted.embeddings).sum(dim=1).mean(),
        "order": F.kl_div((SHARPNESS * given.embeddings @ classes.T).log_softmax(dim=1), order, reduction="batchmean"),
        "features": F.smooth_l1_loss(given.features, wanted.features),
        "logits": F.smooth_l1_loss(given.logits, wanted.logits),
    }


def shifted(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate all windows [n, samples] in time by the same random shift."""
    return windows.roll(int(torch.randint(0, windows.shape[1], (1,), generator=generator)), dims=1)
