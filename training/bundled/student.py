"""A compact encoder, from random weights, learns to hear what the tagger hears.

Every mixture is heard by both, the same cut at the same level. The student is to give the tagger's place in the joint
space (by cosine), its order of the classes there (by cross-entropy), its features and its class logits (each through a
linear layer that is thrown away). Only outputs of the tagger are used; none of its weights are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import AudioEncoder
from training.tagging.space import JointSpace

SHARPNESS = 20.0
"""Scale of the cosines whose softmax is the order of the classes."""


class Targets(NamedTuple):
    """What the student should give for n windows; features and logits are in units of their spread."""

    embeddings: Tensor
    features: Tensor
    logits: Tensor


class Teacher:
    """The tagger's outputs as targets, in units of their spread over recordings."""

    def __init__(self, space: JointSpace, features: Tensor, logits: Tensor) -> None:
        self.space = space
        self._units = [(part.mean(dim=0), part.std(dim=0).clamp(min=1e-4)) for part in (features, logits)]

    def targets(self, features: Tensor, logits: Tensor) -> Targets:
        units = [(part - mean) / unit for part, (mean, unit) in zip((features, logits), self._units, strict=True)]
        return Targets(self.space.embed(features), *units)


class Student(nn.Module):
    """The encoder in training, with the layer that reads the tagger's features and logits from its own features."""

    def __init__(self, encoder: AudioEncoder, features: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.read = nn.Linear(encoder.base.embedding_dim, features + classes)
        self.features = features

    def forward(self, windows: Tensor) -> Targets:
        """Windows [n, samples] -> its own idea of the targets."""
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
    """Rotate windows [n, samples] in time, all alike: what is heard stays the same."""
    return windows.roll(int(torch.randint(0, windows.shape[1], (1,), generator=generator)), dims=1)
