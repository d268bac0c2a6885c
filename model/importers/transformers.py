"""transformers' ClapModel, as written by save_pretrained: LAION's htsat-unfused, htsat-fused, larger_clap_*."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import ClapAudioConfig, ClapConfig, ClapFeatureExtractor, ClapTextConfig

from model.checkpoint import CheckpointError
from model.clap import Clap
from model.config import ClapConfig as Config
from model.config import FrontEndConfig, HtsatConfig, Padding, ProjectionConfig, PromptConfig, TextEncoderConfig
from model.htsat import architecture
from model.importers.imported import Imported, sources
from model.importers.weights import Leftovers, read_folder, take_over
from model.text import Tokenizer

PREFIXES = {
    "audio_encoder.base.htsat.": "audio_model.",
    "audio_encoder.projection.": "audio_projection.",
    "caption_encoder.base.": "text_model.",
    "caption_encoder.projection.": "text_projection.",
}
PADDINGS: dict[str, Padding] = {"repeatpad": "repeat_whole", "repeat": "repeat", "pad": "zero"}

# Options of transformers' audio encoder that our config has no member for. Other values are refused.
FIXED_AUDIO = (
    *("hidden_act", "qkv_bias", "enable_patch_layer_norm", "flatten_patch_embeds", "patch_embed_input_channels"),
    *("layer_norm_eps", "hidden_size"),
)
TEXT_MEMBERS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size"),
    *("layer_norm_eps", "pad_token_id", "bos_token_id", "eos_token_id"),
)


def load(folder: Path, name: str | None = None) -> Imported:
    """Read a directory with config.json, preprocessor config, tokenizer and weights. Raises CheckpointError."""
    peer = read_config(folder)
    try:
        extractor = ClapFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no preprocessor_config.json that can be read: {error}") from None
    weights = read_folder(folder)
    text = text_encoder(cast(ClapTextConfig, peer.text_config))
    try:
        tokenizer = Tokenizer(folder, text.max_tokens)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no tokenizer that can be read: {error}") from None
    limit = min(text.max_tokens, tokenizer.inner.model_max_length)
    head = ProjectionConfig(kind="mlp", activation=activation(peer.projection_hidden_act))
    model = Clap(
        Config(
            name=name or folder.resolve().name,
            front_end=front_end(extractor),
            audio_encoder=audio_encoder(cast(ClapAudioConfig, peer.audio_config), extractor),
            text_encoder=text.model_copy(update={"max_tokens": limit}),
            audio_projection=head,
            text_projection=head,
            joint_dim=peer.projection_dim,
            prompts=PromptConfig(template="This is a sound of {label}."),
            sources=sources(weights.files),
        )
    )
    positions = torch.arange(cast(ClapTextConfig, peer.text_config).max_position_embeddings)[None]
    leftovers = Leftovers(
        constants={
            "text_model.embeddings.position_ids": positions,
            "text_model.embeddings.token_type_ids": torch.zeros_like(positions),
        },
        unused={"logit_scale_t": "it scales text-to-audio retrieval; classification is scaled by logit_scale_a"},
    )
    computed = {"audio_encoder.base.logmel_extractor.melW": mel_matrix(extractor)}
    notes = take_over(model, weights, origin, computed, leftovers)
    return Imported(model.eval(), Tokenizer(folder, limit), weights.files, tuple(notes))


def read_config(folder: Path) -> ClapConfig:
    path = folder / "config.json"
    try:
        members: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from None
    if not isinstance(members, dict) or members.get("model_type") != "clap":
        raise CheckpointError(f"{path} is not the config of a ClapModel: its model_type is not clap")
    return ClapConfig.from_dict(members)


def origin(key: str) -> str:
    for ours, theirs in PREFIXES.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    return "logit_scale_a" if key == "logit_scale" else key


def fused(extractor: ClapFeatureExtractor) -> bool:
    return bool(extractor.truncation == "fusion")


def mel_matrix(extractor: ClapFeatureExtractor) -> Tensor:
    """The filter bank that the extractor uses, one of its two."""
    filters = extractor.mel_filters if fused(extractor) else extractor.mel_filters_slaney
    return torch.from_numpy(filters).float()


def front_end(extractor: ClapFeatureExtractor) -> FrontEndConfig:
    return FrontEndConfig(
        sample_rate=extractor.sampling_rate,
        n_fft=extractor.fft_window_size,
        window_length=extractor.fft_window_size,
        hop_length=extractor.hop_length,
        mel_bins=extractor.feature_size,
        f_min=extractor.frequency_min,
        f_max=extractor.frequency_max,
        mel_scale="htk" if fused(extractor) else "slaney",
        double_precision=True,
        window_s=extractor.max_length_s,
        window_hop_s=extractor.max_length_s,
        padding=PADDINGS[extractor.padding],
    )


def audio_encoder(peer: ClapAudioConfig, extractor: ClapFeatureExtractor) -> HtsatConfig:
    def one(value: int | list[int] | tuple[int, ...]) -> int:
        sizes = {value} if isinstance(value, int) else set(value)
        if len(sizes) != 1:
            raise CheckpointError(f"audio_config has patches {value}, which are not square")
        return sizes.pop()

    if peer.enable_fusion != fused(extractor):
        raise CheckpointError("audio_config.enable_fusion and the preprocessor's truncation contradict each other")
    config = HtsatConfig(
        width=peer.patch_embeds_hidden_size,
        stage_depths=tuple(peer.depths),
        stage_heads=tuple(peer.num_attention_heads),
        attention_window=peer.window_size,
        image_size=peer.spec_size,
        patch_size=one(peer.patch_size),
        patch_stride=one(peer.patch_stride),
        mlp_ratio=peer.mlp_ratio,
        dropout=peer.hidden_dropout_prob,
        fused=peer.enable_fusion,
        fusion_squeeze=peer.aff_block_r,
    )
    if peer.enable_fusion and peer.fusion_type == "channel_map":
        raise CheckpointError("audio_config.fusion_type is 'channel_map'; only 'aff_2d' is supported")
    same = architecture(config, peer.num_mel_bins)
    for member in FIXED_AUDIO:
        asked, known = getattr(peer, member), getattr(same, member)
        if asked != known:
            raise CheckpointError(f"audio_config.{member} is {asked!r}; only {known!r} is supported")
    return config


def text_encoder(peer: ClapTextConfig) -> TextEncoderConfig:
    """ClapTextModel is RoBERTa under another name: positions count from the padding id + 1."""
    members = {member: getattr(peer, member) for member in TEXT_MEMBERS}
    return TextEncoderConfig(
        architecture={"model_type": "roberta", **members},
        pooling="pooler",
        max_tokens=peer.max_position_embeddings - (peer.pad_token_id or 0) - 1,
    )


def activation(name: str) -> Any:
    if name not in ("relu", "gelu"):
        raise CheckpointError(f"projection_hidden_act is {name!r}; only relu and gelu are supported")
    return name
