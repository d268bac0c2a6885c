"""The text side of a joint space: which texts lead where, and how a projection is taught to go there.

Phrases of a class lead to the class, phrases of an everyday kind to what the classes it is heard as have in common, and
captions to their recordings. A frozen text encoder carries it over to other words.
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

# A caption counts n / (n + 4) with n recordings: the mean of few is more noise than place.
FEW = 4
# How the text projection is taught. What is said nearly as a phrase is should lead nearly where the phrase does: texts
# are moved by noise of half their own spread, without which seeds differ twice as much.
LEARNING_RATE, WEIGHT_DECAY, DRAWN, NOISE = 2e-3, 0.1, 1_024, 0.5


class Texts(NamedTuple):
    """Text features [n, t], the directions [n, d] they should lead to, and how much each counts [n]."""

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
    """Phrases of `classes`, which lie at `directions` [classes, d], phrases of everyday kinds, captions of recordings.

    `embeddings` [n, d] are those of the recordings. A caption counts up to `caption_weight` times as much as a phrase.
    """
    kinds = read_kinds([row.name for row in classes])
    shares = torch.stack([kind.shares for kind in kinds])
    places = torch.cat([directions, F.normalize(shares @ directions, dim=1)])
    phrases = [*(row.phrases for row in classes), *(kind.phrases for kind in kinds)]
    said, owners = phrase_features(phrases, base, tokenizer, pooling)
    means, names, counts = gathered(embeddings, captions)
    # A phrase is there in every template, a caption once.
    share = caption_weight * len(TEMPLATES) * counts / (counts + FEW)
    return Texts(
        torch.cat([said, sequence_features(base, tokenizer, names, pooling)]),
        torch.cat([places[owners], means]),
        torch.cat([torch.ones(len(owners)), share]),
    )


def gathered(embeddings: Tensor, captions: Sequence[str]) -> tuple[Tensor, list[str], Tensor]:
    """Embeddings [n, d] -> the direction [k, d] of each caption's mean, the k captions, and how often each is there."""
    names = sorted(set(captions))
    row = {name: number for number, name in enumerate(names)}
    owner = torch.tensor([row[caption] for caption in captions])
    sums = torch.zeros(len(names), embeddings.shape[1]).index_add_(0, owner, embeddings)
    return F.normalize(sums, dim=1), names, torch.bincount(owner, minlength=len(names))


def teach(projection: MlpProjection, known: Texts, steps: int, seed: int) -> None:
    """Train `projection` in place to turn the inputs to the directions of the targets, each by its weight."""
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
    with torch.no_grad():  # what the inputs were less and over goes into the first layer
        first.weight.div_(scale)
        first.bias.sub_(first.weight @ centre)
