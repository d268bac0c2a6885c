"""Projections initialised from a tagger's class head, so that labels are near their classes before the first step.

A class logit is w·h + b, where h is the hidden layer of the tagger's head. The audio projection maps a recording to h
whitened by its covariance S over recordings, S^-1/2 (h - mean). In that space the direction of a class is S^1/2 w, and
the cosine of the two is the class's logit in units of its standard deviation. The direction of a caption is the mean of
its recordings, which also covers sounds that are no class of the tagger. The text projection is trained to map phrases
to the directions of their classes and captions to theirs; a frozen text encoder generalises to other words.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.clap import Clap, MlpProjection
from model.text import Tokenizer
from training.data.loader import Segments
from training.data.sampler import Draw
from training.recipe import Head, RecipeError
from training.start.start import tensors
from training.tagging.phrases import read_phrases
from training.tagging.space import caption_weights, class_directions, whitening
from training.tagging.tagger import class_labels, read_classes
from training.tagging.texts import texts, train_text_projection

log = logging.getLogger(__name__)

BATCH = 32


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
        embeddings = F.normalize(audio.linear2(heard), dim=1)

    text_encoder = clap.caption_encoder
    known = texts(
        text_encoder.base,
        tokenizer,
        text_encoder.pooling,
        classes,
        class_directions(rows, root),
        embeddings,
        captions,
        settings.captions,
    )
    log.info("start.head: training the text projection on %d texts", len(known.inputs))
    train_text_projection(text, known, settings.steps, seed)


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
