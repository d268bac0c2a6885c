"""Microsoft's CLAPs: CLAP_weights_2022.pth (CNN14 and BERT base) and CLAP_weights_2023.pth (HTSAT and GPT-2)."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from model.clap import MAX_LOGIT_SCALE, Clap
from model.config import (
    ClapConfig,
    Cnn14Config,
    FrontEndConfig,
    ProjectionConfig,
    PromptConfig,
    TextEncoderConfig,
)
from model.htsat import Htsat
from model.importers import htsat, text, torchlibrosa
from model.importers.imported import Imported, sources
from model.importers.weights import Leftovers, Third, Weights, read_pickle, take_over

AUDIO = "audio_encoder.base."
TEXT = "caption_encoder.base."
HTSAT = f"{AUDIO}htsat."
LICENCE = "MIT"
RESIDUAL = ProjectionConfig(kind="residual")


def load_2022(path: Path, name: str | None, tokenizer: Path | None) -> Imported:
    """CNN14 and BERT base: 44.1 kHz, 5 s. Raises CheckpointError naming the key that does not fit."""
    weights = read(path)
    config, band = config_2022(weights, name or "msclap-2022")
    model = Clap(config)
    architecture = config.text_encoder.architecture or {}
    positions = torch.arange(int(architecture["max_position_embeddings"]))[None]
    constants = {
        **torchlibrosa.fourier_kernels(f"{AUDIO}spectrogram_extractor.", config.front_end.n_fft),
        f"{TEXT}embeddings.position_ids": positions,
    }
    notes = take_over(model, weights, str, {}, Leftovers(constants=constants))
    heads = (
        f"kept {AUDIO}fc_audioset and {TEXT}pooler, which no embedding passes through: contrastive training leaves them"
    )
    read_with = text.tokenizer(tokenizer or text.packaged_bert_vocabulary(), architecture["vocab_size"], 100)
    return Imported(model.eval(), read_with, weights.files, (band, *scale_note(model), *notes, heads))


def config_2022(weights: Weights, name: str) -> tuple[ClapConfig, str]:
    """The config, from the shapes of the weights, and a note on the mel matrix. Raises CheckpointError."""
    asked = FrontEndConfig(window_s=5.0, window_hop_s=5.0)
    front_end, band = torchlibrosa.front_end(weights, f"{AUDIO}logmel_extractor.melW", asked, (44_100,))
    config = ClapConfig(
        name=name,
        front_end=front_end,
        audio_encoder=Cnn14Config(
            embedding_dim=text.rows_and_columns(weights, f"{AUDIO}fc1.weight")[0],
            classes=text.rows_and_columns(weights, f"{AUDIO}fc_audioset.weight")[0],
        ),
        text_encoder=TextEncoderConfig(architecture=text.bert(weights, TEXT), pooling="cls", max_tokens=100),
        audio_projection=RESIDUAL,
        text_projection=RESIDUAL,
        joint_dim=joint_dim(weights),
        prompts=PromptConfig(template="this is a sound of {label}"),
        licence=LICENCE,
        sources=sources(weights.files),
    )
    return config, band


def load_2023(path: Path, name: str | None, tokenizer: Path) -> Imported:
    """HTSAT and GPT-2: 44.1 kHz, 7 s. Raises CheckpointError naming the key that does not fit."""
    weights = read(path)
    config, band = config_2023(weights, name or "msclap-2023")
    model = Clap(config)
    encoder = model.audio_encoder.base
    assert isinstance(encoder, Htsat)  # noqa: S101 - the config asks for it
    architecture = config.text_encoder.architecture or {}
    constants = {
        **torchlibrosa.fourier_kernels(f"{HTSAT}spectrogram_extractor.", config.front_end.n_fft),
        **htsat.masks(encoder.htsat, HTSAT),
        **causal_masks(int(architecture["n_layer"]), int(architecture["n_positions"])),
    }
    notes = take_over(model, weights, origin_2023, {}, Leftovers(constants, htsat.heads(HTSAT)))
    limit = config.text_encoder.max_tokens
    read_with = text.tokenizer(tokenizer, architecture["vocab_size"], limit, config.text_encoder.suffix, pad="!")
    return Imported(model.eval(), read_with, weights.files, (band, *scale_note(model), *notes))


def config_2023(weights: Weights, name: str) -> tuple[ClapConfig, str]:
    """The config, from the shapes of the weights, and a note on the mel matrix. Raises CheckpointError."""
    asked = FrontEndConfig(window_s=7.0, window_hop_s=7.0)
    front_end, band = torchlibrosa.front_end(weights, f"{HTSAT}logmel_extractor.melW", asked, (44_100, 32_000))
    config = ClapConfig(
        name=name,
        front_end=front_end,
        audio_encoder=htsat.config(weights, HTSAT),
        text_encoder=TextEncoderConfig(
            architecture=text.gpt2(weights, TEXT), pooling="last", max_tokens=77, suffix=" <|endoftext|>"
        ),
        audio_projection=RESIDUAL,
        text_projection=RESIDUAL,
        joint_dim=joint_dim(weights),
        prompts=PromptConfig(template="this is the sound of {label}"),
        licence=LICENCE,
        sources=sources(weights.files),
    )
    return config, band


def read(path: Path) -> Weights:
    return read_pickle(path, "model").without_prefix("module.")


def joint_dim(weights: Weights) -> int:
    return text.rows_and_columns(weights, "audio_encoder.projection.linear1.weight")[0]


def origin_2023(key: str) -> str | Third:
    """The file's key: HTSAT has its authors' names, everything else has ours."""
    if key == f"{AUDIO}logmel_extractor.melW":
        return f"{HTSAT}logmel_extractor.melW"
    inner = f"{HTSAT}audio_encoder."
    if not key.startswith(inner):
        return key
    found = htsat.origin(key.removeprefix(inner))
    return Third(HTSAT + found.key, found.index) if isinstance(found, Third) else HTSAT + found


def causal_masks(layers: int, positions: int) -> dict[str, Tensor]:
    """GPT-2's constants, which transformers before 4.31 saved."""
    allowed = torch.ones(positions, positions).tril()[None, None]
    return {
        **{f"{TEXT}h.{layer}.attn.bias": allowed for layer in range(layers)},
        **{f"{TEXT}h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(layers)},
    }


def scale_note(model: Clap) -> list[str]:
    """A note if the scale is above the paper's maximum, which the released code does not apply and we do."""
    learned = math.exp(float(model.logit_scale.detach()))
    return [f"the learned scale {learned:.1f} is used as {MAX_LOGIT_SCALE:g}"] if learned > MAX_LOGIT_SCALE else []
