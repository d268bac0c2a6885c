"""The contrastive loss: symmetric cross-entropy over the global batch (Elizalde et al. 2022, equations 3 to 5).

Beside it the pairwise sigmoid loss, which needs less memory.

Gradients are exact. DDP averages gradients over ranks, so the mean of the ranks' losses must be the loss of the whole
batch, and embeddings must be gathered with gradients; both hold for both forms below. Equation 4 of the paper lacks a
minus sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.loop.ranks import Ranks

ALONE = Ranks()


BLOCK = 2_048
"""Captions whose logits are in memory at a time."""


@dataclass(frozen=True)
class SigmoidLoss:
    """The pairwise sigmoid loss of SigLIP (Zhai et al. 2023, algorithm 1): each clip and caption is one decision.

    No pair depends on another, so logits are computed in blocks [b, 2048] and again in the backward pass: memory does
    not grow with the square of the batch. Each rank computes its own rows.
    """

    ranks: Ranks = ALONE

    def __call__(self, audio: Tensor, text: Tensor, scale: Tensor, recordings: Tensor, captions: Tensor) -> Tensor:
        """The loss, a scalar, of this rank's pairs; `scale` [2] is the logit scale and the bias.

        Pairs with the same recording or the same caption are neither positives nor negatives.
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio, every_text = audio.float(), self.ranks.gather(text.float())
            every_recording, every_caption = self.ranks.gather_keys(recordings), self.ranks.gather_keys(captions)
            columns = torch.arange(len(every_text), device=audio.device)
            own = columns[self.ranks.rank * len(audio) :][: len(audio)]
            total = audio.new_zeros(())
            for part in columns.split(BLOCK):
                excluded = recordings[:, None] == every_recording[part]
                excluded |= captions[:, None] == every_caption[part]
                positive = own[:, None] == part
                block = (audio, every_text[part], scale, positive, excluded & ~positive)
                total = total + checkpoint(_block, *block, use_reentrant=False)
            return total / len(audio)


def _block(audio: Tensor, text: Tensor, scale: Tensor, positive: Tensor, excluded: Tensor) -> Tensor:
    logits = scale[0] * audio @ text.T + scale[1]
    signed = torch.where(positive, logits, -logits)
    return -F.logsigmoid(signed).masked_fill(excluded, 0.0).sum()


@dataclass(frozen=True)
class ContrastiveLoss:
    """`local`: each rank computes the logits of its own rows only, [b, B] instead of [B, B]."""

    ranks: Ranks = ALONE
    local: bool = False

    def __call__(self, audio: Tensor, text: Tensor, scale: Tensor, recordings: Tensor, captions: Tensor) -> Tensor:
        """The loss, a scalar, of this rank's pairs: normalised embeddings [b, d], the logit scale, keys int64 [b].

        Pairs with the same recording or the same caption are not negatives: each is masked out of the other's softmax.
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio, text = audio.float(), text.float()
            every_audio, every_text = self.ranks.gather(audio), self.ranks.gather(text)
            every_recording, every_caption = self.ranks.gather_keys(recordings), self.ranks.gather_keys(captions)
            columns = torch.arange(len(every_audio), device=audio.device)
            if self.local:
                own = columns[self.ranks.rank * len(audio) :][: len(audio)]
                of_audio = scale * audio @ every_text.T
                of_text = scale * text @ every_audio.T
            else:
                own = columns
                of_audio = scale * every_audio @ every_text.T
                of_text = of_audio.T
            alike = every_recording[own, None] == every_recording
            alike |= every_caption[own, None] == every_caption
            excluded = alike & (own[:, None] != columns)
            return 0.5 * (
                F.cross_entropy(of_audio.masked_fill(excluded, -torch.inf), own)
                + F.cross_entropy(of_text.masked_fill(excluded, -torch.inf), own)
            )
