"""From a trained student to a CLAP: both projections and the temperature."""

from __future__ import annotations

import logging
import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from model.clap import AudioEncoder, Clap, MlpProjection
from model.config import ClapConfig, Frozen
from model.prompts import fill
from model.text import Tokenizer, package_folder
from training.bundled.blocks import floats
from training.bundled.heard import TAGGED, Kept, first_window
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


def assemble(config: ClapConfig, encoder: AudioEncoder, seed: int) -> tuple[Clap, Tokenizer]:
    """A CLAP of the trained encoder; its text projection is untrained, and drawn with `seed`."""
    torch.manual_seed(seed)
    clap = Clap(config)
    clap.audio_encoder.load_state_dict(encoder.state_dict())
    return clap.eval(), Tokenizer(package_folder(config.text_encoder), config.text_encoder.max_tokens)


@torch.no_grad()
def features(base: nn.Module, recordings: Recordings) -> Tensor:
    """The encoder's features [n, d] of the first window of each recording."""
    batches = [range(first, min(first + TAGGED, len(recordings))) for first in range(0, len(recordings), TAGGED)]
    length = FRONT_END.window_samples
    windows = (torch.stack([first_window(recordings.samples(row), length) for row in batch]) for batch in batches)
    return torch.cat([base(floats(batch)) for batch in windows])


class AudioProjection(Frozen):
    """Training of the audio projection alone, on features of single recordings."""

    steps: int = Field(2_000, ge=1)
    batch: int = Field(256, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    seed: int = 0


def fit_projection(projection: nn.Module, features: Tensor, wanted: Tensor, settings: AudioProjection) -> None:
    """Train `projection` in place to map features [n, f] to unit embeddings [n, d], by their cosine."""
    generator = torch.Generator().manual_seed(settings.seed)
    optimiser = torch.optim.AdamW(projection.parameters(), lr=settings.learning_rate)
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * (1 - step / settings.steps)
        chosen = torch.randint(0, len(features), (settings.batch,), generator=generator)
        loss = 1 - F.cosine_similarity(projection(features[chosen]), wanted[chosen], dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def set_scale(clap: Clap, tokenizer: Tokenizer, rows: list[dict[str, str]], embeddings: torch.Tensor) -> float:
    """Fit the temperature to held-out recordings `rows` [n] with `embeddings` [n, d]; returns their naming accuracy."""
    captions = sorted({caption for _, captions in collections(rows) for caption in captions})
    similarities = logits(rows, embeddings, text_embeddings(clap, tokenizer, captions))
    with torch.no_grad():
        clap.logit_scale.fill_(math.log(best_scale(similarities)))
    return accuracy(similarities)
