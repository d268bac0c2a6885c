"""Projections that begin with what a tagger knows: text of all its classes lands right before the first step.

A class logit is w·h + b, with h the hidden layer of the tagger's head. On the audio side the joint space is h,
whitened by its covariance S over recordings: S^-1/2 (h - mean). There S^1/2 w is the class, and the cosine of the two
is the class's logit in units of its standard deviation: classes are told apart by how much more than usual they are
heard. The text side is the ridge regression of the classes, less their mean, on the text features of their phrases.
A frozen text encoder carries it over to other words. It is solved in closed form: captions alone name too few classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import Clap, LinearProjection, MlpProjection
from model.text import Tokenizer
from training.loader import Segments
from training.phrases import PhraseBank, read_phrases
from training.recipe import Head, RecipeError
from training.sampler import Draw
from training.start import tensors
from training.tagger import class_labels, read_classes

BATCH = 32


def start_from_head(clap: Clap, tokenizer: Tokenizer, weights: Path, segments: Segments, settings: Head) -> None:
    """Set both projections in place from the head in `weights`; the model is left in evaluation mode.

    Raises RecipeError where the head does not fit them.
    """
    audio, text = clap.audio_encoder.projection, clap.caption_encoder.projection
    if not isinstance(audio, MlpProjection) or not isinstance(text, LinearProjection):
        raise RecipeError("start.head needs an mlp as audio_projection and a linear text_projection")
    state = tensors(weights)
    try:
        hidden = {"weight": state["classifier.2.weight"], "bias": state["classifier.2.bias"]}
        rows = state["classifier.5.weight"]
        classes = read_phrases(read_classes(class_labels(weights)))
        audio.linear1.load_state_dict(hidden)
    except (KeyError, OSError, ValueError) as error:
        raise RecipeError(f"start.head: {weights} has no class head to begin with: {error}") from None
    except RuntimeError:
        shape = tuple(hidden["weight"].shape)
        raise RecipeError(f"start.head: the head's hidden layer is {shape}; joint_dim must be {shape[0]}") from None
    if len(classes) != len(rows):
        raise RecipeError(f"start.head: {len(rows)} classes in {weights}, {len(classes)} names beside it")

    clap.eval()
    features, share = listen(clap.audio_encoder.base, segments, settings.recordings)
    mean, root, inverse_root = spread(F.hardswish(audio.linear1(features)).detach(), share, settings.shrinkage)
    bank = PhraseBank(classes, clap.caption_encoder.base, tokenizer, clap.caption_encoder.pooling)
    owners = torch.arange(len(classes)).repeat_interleave(bank.sizes)
    targets = F.normalize(rows @ root, dim=1)
    targets = F.normalize(targets - targets.mean(dim=0), dim=1)
    centre = bank.features.mean(dim=0)
    slope = ridge(bank.features - centre, targets[owners], settings.ridge)
    with torch.no_grad():
        audio.linear2.weight.copy_(inverse_root)
        audio.linear2.bias.copy_(-inverse_root @ mean)
        text.linear.weight.copy_(slope.T)
        text.linear.bias.copy_(-centre @ slope)


@torch.no_grad()
def listen(base: nn.Module, segments: Segments, recordings: int) -> tuple[Tensor, Tensor]:
    """Features [n, d] of a segment of up to `recordings` recordings, evenly spaced, and their weights [n].

    A recording weighs the less the more of them share its first caption, by the root of their number.
    """
    count = len(segments.clips)
    chosen = np.unique(np.linspace(0, count - 1, min(count, recordings)).round().astype(int))
    pairs = np.searchsorted(segments.recording, chosen)
    device = next(base.parameters()).device
    parts = []
    for first in range(0, len(pairs), BATCH):
        windows = [segments[Draw(0, int(pair))].window for pair in pairs[first : first + BATCH]]
        parts.append(base(torch.from_numpy(np.stack(windows)).to(device)).cpu())
    return torch.cat(parts), evened([segments.clips[index].captions[0] for index in chosen])


def evened(captions: Sequence[str]) -> Tensor:
    counts = Counter(captions)
    occurrences = torch.tensor([float(counts[caption]) for caption in captions])
    weights = occurrences.rsqrt()
    return weights / weights.sum()


def spread(hidden: Tensor, share: Tensor, shrinkage: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [d] of hidden [n, d] weighted by `share` [n], and the square root of their covariance and its inverse."""
    mean = share @ hidden
    centred = hidden - mean
    covariance = (centred * share[:, None]).T @ centred
    covariance += shrinkage * covariance.diagonal().mean() * torch.eye(len(covariance))
    values, vectors = torch.linalg.eigh(covariance)
    return mean, vectors * values.sqrt() @ vectors.T, vectors * values.rsqrt() @ vectors.T


def ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """The map [d, e] of inputs [n, d] on targets [n, e] with little square error that is itself small."""
    kernel = inputs.T @ inputs
    kernel += penalty * kernel.diagonal().mean() * torch.eye(len(kernel))
    slope: Tensor = torch.linalg.solve(kernel, inputs.T @ targets)
    return slope
