"""From a trained student to a CLAP: both projections and the temperature."""

from __future__ import annotations

import logging
import math

import torch
from pydantic import Field

from model.clap import AudioEncoder, Clap, LinearProjection, MlpProjection
from model.config import ClapConfig, Frozen, ProjectionConfig
from model.prompts import fill
from model.text import Tokenizer, package_folder
from training.bundled.blocks import floats
from training.bundled.heard import Kept, first_window
from training.bundled.naming import accuracy, best_scale, collections, logits
from training.bundled.recordings import Recordings
from training.tagging.phrases import read_phrases
from training.tagging.space import JointSpace
from training.tagging.tagger import FRONT_END
from training.tagging.texts import texts, train_text_projection

log = logging.getLogger(__name__)


class TextSide(Frozen):
    """Training of the text projection; `captions` is the weight of a caption relative to a phrase of a class."""

    captions: float = Field(3.0, ge=0)
    steps: int = Field(400, ge=2)
    seed: int = 0


def fit_texts(
    clap: Clap, tokenizer: Tokenizer, settings: TextSide, space: JointSpace, classes: list[str], named: Kept
) -> None:
    """Train the text projection in place on phrases and on the captions of `named` recordings."""
    encoder = clap.caption_encoder
    if not isinstance(encoder.projection, MlpProjection):
        raise TypeError("the bundled recipe needs an mlp as text_projection")
    captioned = [number for number, row in enumerate(named.rows) if row["caption"]]
    known = texts(
        encoder.base,
        tokenizer,
        encoder.pooling,
        read_phrases(classes),
        space.classes,
        space.embed(named.features[captioned]),
        [named.rows[number]["caption"] for number in captioned],
        settings.captions,
    )
    train_text_projection(encoder.projection, known, settings.steps, settings.seed)


@torch.inference_mode()
def text_embeddings(clap: Clap, tokenizer: Tokenizer, captions: list[str]) -> dict[str, torch.Tensor]:
    """Captions as labels in the checkpoint's own template."""
    template = clap.config.prompts.template
    prompts = [fill(template, caption.removeprefix("the sound of ")) for caption in captions]
    parts = [clap.embed_text(tokenizer(prompts[first : first + 256])) for first in range(0, len(prompts), 256)]
    return dict(zip(captions, torch.cat(parts), strict=True))


def assemble(config: ClapConfig, encoder: AudioEncoder, projection: LinearProjection) -> tuple[Clap, Tokenizer]:
    """A CLAP of the trained encoder's base and `projection`; its text projection is untrained."""
    clap = Clap(config.model_copy(update={"audio_projection": ProjectionConfig(kind="linear")}))
    clap.audio_encoder.base.load_state_dict(encoder.base.state_dict())
    clap.audio_encoder.projection.load_state_dict(projection.state_dict())
    return clap.eval(), Tokenizer(package_folder(config.text_encoder), config.text_encoder.max_tokens)


@torch.inference_mode()
def fit_projection(
    base: torch.nn.Module, recordings: Recordings, wanted: torch.Tensor, ridge: float
) -> LinearProjection:
    """Ridge regression from the encoder's features of single recordings to `wanted` [n, d], in standard units.

    Mixtures train the encoder; the windows that are served are single recordings. `ridge` is relative to n.
    """
    batches = [range(first, min(first + 16, len(recordings))) for first in range(0, len(recordings), 16)]
    length = FRONT_END.window_samples
    windows = (torch.stack([first_window(recordings.samples(row), length) for row in batch]) for batch in batches)
    features = torch.cat([base(floats(batch)) for batch in windows]).double()
    mean, unit = features.mean(dim=0), features.std(dim=0).clamp(min=1e-4)
    standard, centre = (features - mean) / unit, wanted.double().mean(dim=0)
    penalty = ridge * len(standard) * torch.eye(standard.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(standard.T @ standard + penalty, standard.T @ (wanted.double() - centre)).T / unit
    projection = LinearProjection(features.shape[1], wanted.shape[1], bias=True)
    projection.linear.weight.copy_(weight)
    projection.linear.bias.copy_(centre - weight @ mean)
    return projection


def set_scale(clap: Clap, tokenizer: Tokenizer, rows: list[dict[str, str]], embeddings: torch.Tensor) -> float:
    """Fit the temperature to held-out recordings `rows` [n] with `embeddings` [n, d]; returns their naming accuracy."""
    captions = sorted({caption for _, captions in collections(rows) for caption in captions})
    similarities = logits(rows, embeddings, text_embeddings(clap, tokenizer, captions))
    with torch.no_grad():
        clap.logit_scale.fill_(math.log(best_scale(similarities)))
    return accuracy(similarities)
