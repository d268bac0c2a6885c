"""A joint space from the tagger's class head: embeddings of recordings and directions of classes.

A class logit is w·h + b, with h the hidden layer of the tagger's head. The space is h whitened by its covariance S
over recordings: S^-1/2 (h - mean). There S^1/2 w is the class, and the cosine of the two is the class's logit in units
of its standard deviation: classes are told apart by how much more than usual they are heard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def caption_weights(captions: Sequence[str]) -> Tensor:
    """Weights [n] with the sum 1 that give every caption the same total weight over its recordings."""
    counts = Counter(captions)
    weights = torch.tensor([1.0 / counts[caption] for caption in captions])
    return weights / weights.sum()


def whitening(hidden: Tensor, share: Tensor, shrinkage: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d] of hidden [n, d] with weights `share` [n]; square root and inverse square root of their covariance."""
    mean = share @ hidden
    centred = hidden - mean
    covariance = (centred * share[:, None]).T @ centred
    covariance += shrinkage * covariance.diagonal().mean() * torch.eye(len(covariance))
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors * values.sqrt() @ vectors.T, vectors * values.rsqrt() @ vectors.T


def class_directions(rows: Tensor, root: Tensor) -> Tensor:
    """The head's last layer [classes, d] and the covariance's root [d, d] -> unit directions [classes, d].

    Their mean is subtracted: it does not tell classes apart.
    """
    at = F.normalize(rows @ root, dim=1)
    return F.normalize(at - at.mean(dim=0), dim=1)


@dataclass(frozen=True)
class JointSpace:
    """Maps tagger features [n, features] to unit embeddings [n, d]; `classes` are directions [classes, d]."""

    hidden_weight: Tensor
    hidden_bias: Tensor
    mean: Tensor
    inverse_root: Tensor
    classes: Tensor

    @staticmethod
    def fit(head: dict[str, Tensor], features: Tensor, captions: Sequence[str], shrinkage: float) -> JointSpace:
        """Fit the space to the tagger's features [n, features] of captioned recordings; `head` is `Tagger.head()`."""
        hidden = F.hardswish(F.linear(features, head["hidden.weight"], head["hidden.bias"]))
        mean, root, inverse_root = whitening(hidden, caption_weights(captions), shrinkage)
        classes = class_directions(head["classes.weight"], root)
        return JointSpace(head["hidden.weight"], head["hidden.bias"], mean, inverse_root, classes)

    def embed(self, features: Tensor) -> Tensor:
        hidden = F.hardswish(F.linear(features, self.hidden_weight, self.hidden_bias))
        return F.normalize((hidden - self.mean) @ self.inverse_root, dim=1)
