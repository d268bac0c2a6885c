"""The text side of a joint space: training texts with their target directions, and the text projection's training.

The target of a class's phrase is the class; of an everyday kind's phrase, the weighted mean of the classes it is heard
as; of a caption, the mean of its recordings. The frozen text encoder generalises to other words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import MlpProjection
from model.text import Tokenizer, sequence_features
from training.tagging.phrases import TEMPLATES, ClassPhrases, phrase_features, read_kinds

# A caption of n recordings has the weight n / (n + 4): a mean over few recordings is noisy.
FEW = 4
# Training of the text projection. Noise of half the texts' own spread is added to them; without it, seeds differ twice
# as much.
LEARNING_RATE, WEIGHT_DECAY, DRAWN, NOISE = 2e-3, 0.1, 1_024, 0.5


class Texts(NamedTuple):
    """Text features [n, t], their target directions [n, d], and the weights [n] they are drawn with."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def texts(
    base: nn.Module,
    tokenizer: Tokenizer,
    pooling: str,
    classes: Sequence[ClassPhrases],
    directions: Tensor,
    embeddings: Tensor,
    captions: Sequence[str],
    caption_weight: float,
) -> Texts:
    """Training texts: phrases of `classes` and of everyday kinds, and captions.

    `directions` [classes, d] are the targets of the classes; `embeddings` [n, d] belong to the recordings of `captions`
    [n]. A caption weighs up to `caption_weight` times as much as a phrase.
    """
    kinds = read_kinds([row.name for row in classes])
    shares = torch.stack([kind.shares for kind in kinds])
    places = torch.cat([directions, F.normalize(shares @ directions, dim=1)])
    phrases = [*(row.phrases for row in classes), *(kind.phrases for kind in kinds)]
    said, owners = phrase_features(phrases, base, tokenizer, pooling)
    means, names, counts = caption_directions(embeddings, captions)
    # A phrase occurs once per template, a caption once.
    share = caption_weight * len(TEMPLATES) * counts / (counts + FEW)
    return Texts(
        torch.cat([said, sequence_features(base, tokenizer, names, pooling)]),
        torch.cat([places[owners], means]),
        torch.cat([torch.ones(len(owners)), share]),
    )


def caption_directions(embeddings: Tensor, captions: Sequence[str]) -> tuple[Tensor, list[str], Tensor]:
    """The mean directions [k, d] of the embeddings [n, d] of each caption, the k captions, and their counts [k]."""
    names = sorted(set(captions))
    row = {name: number for number, name in enumerate(names)}
    owner = torch.tensor([row[caption] for caption in captions])
    sums = torch.zeros(len(names), embeddings.shape[1]).index_add_(0, owner, embeddings)
    return F.normalize(sums, dim=1), names, torch.bincount(owner, minlength=len(names))


def train_text_projection(projection: MlpProjection, known: Texts, steps: int, seed: int) -> None:
    """Train `projection` in place to map the texts to their target directions."""
    inputs, targets, weights = known
    centre, scale = inputs.mean(dim=0), inputs.std(dim=0).square().mean().sqrt()
    inputs = (inputs - centre) / scale
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(projection.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        drawn = torch.multinomial(weights, DRAWN, replacement=True, generator=generator)
        moved = inputs[drawn] + NOISE * torch.randn(DRAWN, inputs.shape[1], generator=generator)
        loss = -F.cosine_similarity(projection(moved), targets[drawn], dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    optimiser.zero_grad()
    first = projection.linear1
    with torch.no_grad():  # fold the normalisation of the inputs into the first layer
        first.weight.div_(scale)
        first.bias.sub_(first.weight @ centre)
