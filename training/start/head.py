"""Projections initialised from a tagger's class head, so that labels are near their classes before the first step.

A class logit is w·h + b, where h is the hidden layer of the tagger's head. The audio projection maps a recording to h
whitened by its covariance S over recordings, S^-1/2 (h - mean). In that space the direction of a class is S^1/2 w, and
the cosine of the two is the class's logit in units of its standard deviation. The direction of a caption is the mean of
its recordings, which also covers sounds that are no class of the tagger. The text projection is trained to map phrases
to the directions of their classes and captions to theirs; a frozen text encoder generalises to other words.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import Clap, MlpProjection
from model.text import Tokenizer, sequence_features
from training.data.loader import Segments
from training.data.sampler import Draw
from training.recipe import Head, RecipeError
from training.start.start import tensors
from training.tagging.phrases import TEMPLATES, PhraseBank, read_phrases
from training.tagging.tagger import class_labels, read_classes

log = logging.getLogger(__name__)

BATCH = 32
# A caption of n recordings has the weight n / (n + 4): a mean over few recordings is noisy.
FEW = 4
# Training of the text projection. Noise of half the texts' own spread is added to them; without it, seeds differ twice
# as much.
LEARNING_RATE, WEIGHT_DECAY, DRAWN, NOISE = 2e-3, 0.1, 1_024, 0.5


def start_from_head(
    clap: Clap, tokenizer: Tokenizer, weights: Path, segments: Segments, settings: Head, seed: int
) -> None:
    """Initialise both projections in place from the head in `weights`; the model is left in evaluation mode.

    Raises RecipeError where the head does not fit the projections.
    """
    audio, text = clap.audio_encoder.projection, clap.caption_encoder.projection
    if not isinstance(audio, MlpProjection) or not isinstance(text, MlpProjection):
        raise RecipeError("start.head needs an mlp as audio_projection and as text_projection")
    state = tensors(weights)
    try:
        hidden = {"weight": state["classifier.2.weight"], "bias": state["classifier.2.bias"]}
        rows = state["classifier.5.weight"]
        classes = read_phrases(read_classes(class_labels(weights)))
        audio.linear1.load_state_dict(hidden)
    except (KeyError, OSError, ValueError) as error:
        raise RecipeError(f"start.head: {weights} has no class head: {error}") from None
    except RuntimeError:
        shape = tuple(hidden["weight"].shape)
        raise RecipeError(f"start.head: the head's hidden layer is {shape}; joint_dim must be {shape[0]}") from None
    if len(classes) != len(rows):
        raise RecipeError(f"start.head: {len(rows)} classes in {weights}, {len(classes)} names beside it")

    clap.eval()
    log.info("start.head: encoding %d recordings", min(len(segments.clips), settings.recordings))
    features, captions = encode_recordings(clap.audio_encoder.base, segments, settings.recordings)
    with torch.no_grad():
        heard = F.hardswish(audio.linear1(features))
        mean, root, inverse_root = whitening(heard, caption_weights(captions), settings.shrinkage)
        audio.linear2.weight.copy_(inverse_root)
        audio.linear2.bias.copy_(-inverse_root @ mean)
        places, names, counts = caption_directions(F.normalize(audio.linear2(heard), dim=1), captions)

    base, pooling = clap.caption_encoder.base, clap.caption_encoder.pooling
    bank = PhraseBank(classes, base, tokenizer, pooling)
    owners = torch.arange(len(classes)).repeat_interleave(bank.sizes)
    at = F.normalize(rows @ root, dim=1)
    at = F.normalize(at - at.mean(dim=0), dim=1)
    # A phrase occurs once per template, a caption once.
    share = settings.captions * len(TEMPLATES) * counts / (counts + FEW)
    inputs = torch.cat([bank.features, sequence_features(base, tokenizer, names, pooling)])
    targets, weight = torch.cat([at[owners], places]), torch.cat([torch.ones(len(owners)), share])
    log.info("start.head: training the text projection on %d texts", len(inputs))
    train_text_projection(text, inputs, targets, weight, settings.steps, seed)


@torch.no_grad()
def encode_recordings(base: nn.Module, segments: Segments, recordings: int) -> tuple[Tensor, list[str]]:
    """Features [n, d] of one segment each of at most `recordings` recordings, evenly spaced, and their captions."""
    count = len(segments.clips)
    chosen = np.unique(np.linspace(0, count - 1, min(count, recordings)).round().astype(int))
    pairs = np.searchsorted(segments.recording, chosen)
    device = next(base.parameters()).device
    parts, captions = [], []
    for first in range(0, len(pairs), BATCH):
        items = [segments[Draw(0, int(pair))] for pair in pairs[first : first + BATCH]]
        parts.append(base(torch.from_numpy(np.stack([item.window for item in items])).to(device)).cpu())
        captions += [item.caption for item in items]
    return torch.cat(parts), captions


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


def caption_directions(embeddings: Tensor, captions: Sequence[str]) -> tuple[Tensor, list[str], Tensor]:
    """The mean directions [k, d] of the embeddings [n, d] of each caption, the k captions, and their counts [k]."""
    names = sorted(set(captions))
    row = {name: number for number, name in enumerate(names)}
    owner = torch.tensor([row[caption] for caption in captions])
    sums = torch.zeros(len(names), embeddings.shape[1]).index_add_(0, owner, embeddings)
    return F.normalize(sums, dim=1), names, torch.bincount(owner, minlength=len(names))


def train_text_projection(
    projection: MlpProjection, inputs: Tensor, targets: Tensor, weights: Tensor, steps: int, seed: int
) -> None:
    """Train `projection` in place to map inputs [n, d] to the directions of targets [n, e], drawn by weights [n]."""
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
