"""CLAP: an audio and a text encoder with one embedding space (Elizalde et al. 2022, section 2).

Module names follow the released checkpoints: `audio_encoder` and `caption_encoder`, each a `base` and a `projection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cnn14 import Cnn14
from model.config import AudioEncoderConfig, ClapConfig, Cnn14Config, HtsatConfig, ProjectionConfig, TextEncoderConfig
from model.front_end import LogMel
from model.htsat import Htsat
from model.mobilenet import MobileNet
from model.text import Tokens, load_base, text_features

MAX_LOGIT_SCALE = 100.0
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "hardswish": F.hardswish}


class ResidualProjection(nn.Module):
    """The projection of Microsoft's released code: LayerNorm(linear1(x) + dropout(linear2(GELU(linear1(x)))))."""

    def __init__(self, features: int, out: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, out, bias=False)
        self.linear2 = nn.Linear(out, out, bias=False)
        self.layer_norm = nn.LayerNorm(out)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        first = self.linear1(x)
        projected: Tensor = self.layer_norm(first + self.drop(self.linear2(F.gelu(first))))
        return projected


class LinearProjection(nn.Module):
    """The paper's projection: one learnable linear layer."""

    def __init__(self, features: int, out: int, bias: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(features, out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.linear(x)
        return projected


class MlpProjection(nn.Module):
    """LAION's projection: linear2(activation(linear1(x)))."""

    def __init__(self, features: int, out: int, activation: str) -> None:
        super().__init__()
        self.linear1 = nn.Linear(features, out)
        self.linear2 = nn.Linear(out, out)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.linear2(self.activation(self.linear1(x)))
        return projected


def projection(config: ProjectionConfig, features: int, out: int) -> nn.Module:
    """A module from [batch, features] to [batch, out]. Raises ValueError for an identity between unequal sizes."""
    if config.kind == "residual":
        return ResidualProjection(features, out, config.dropout)
    if config.kind == "mlp":
        return MlpProjection(features, out, config.activation)
    if config.kind == "linear":
        return LinearProjection(features, out, config.bias)
    if features != out:
        raise ValueError(f"an identity projection cannot turn {features} features into {out}")
    return nn.Identity()


def audio_base(config: AudioEncoderConfig, front_end: LogMel) -> Cnn14 | MobileNet | Htsat:
    """The encoder of `config`: waveforms [batch, samples] -> [batch, embedding_dim]. It contains `front_end`."""
    if isinstance(config, Cnn14Config):
        return Cnn14(config, front_end)
    if isinstance(config, HtsatConfig):
        return Htsat(config, front_end)
    return MobileNet(config, front_end)


class AudioEncoder(nn.Module):
    """Waveform windows [batch, samples] -> [batch, joint_dim], not normalised."""

    def __init__(self, config: ClapConfig) -> None:
        super().__init__()
        self.base = audio_base(config.audio_encoder, LogMel(config.front_end))
        self.projection = projection(config.audio_projection, self.base.embedding_dim, config.joint_dim)

    def forward(self, windows: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.base(windows))
        return projected


class TextEncoder(nn.Module):
    """Tokenised prompts [batch, tokens] -> [batch, joint_dim], not normalised."""

    def __init__(self, base: nn.Module, config: TextEncoderConfig, head: ProjectionConfig, joint_dim: int) -> None:
        super().__init__()
        self.base = base
        self.pooling = config.pooling
        self.projection = projection(head, base.config.hidden_size, joint_dim)  # type: ignore[union-attr, arg-type]

    def forward(self, tokens: Tokens) -> Tensor:
        projected: Tensor = self.projection(text_features(self.base, tokens, self.pooling))
        return projected


class Clap(nn.Module):
    """The two encoders and the learnable temperature.

    `logit_scale` holds log(1 / temperature), which starts at log(1 / 0.07) as in CLIP and in the released CLAP code.
    The paper states 0.007, but 1 / 0.007 = 143 exceeds the paper's own maximum of 100, where the gradient is zero.
    That figure is taken to be a typing error.
    """

    def __init__(self, config: ClapConfig) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = AudioEncoder(config)
        text = config.text_encoder
        self.caption_encoder = TextEncoder(load_base(text), text, config.text_projection, config.joint_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), at most 100 (paper, section 4.2)."""
        return self.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)

    def embed_audio(self, windows: Tensor) -> Tensor:
        """Waveform windows [batch, window_samples] -> L2-normalised embeddings [batch, joint_dim]."""
        return F.normalize(self.audio_encoder(windows).float(), dim=-1)

    def embed_text(self, tokens: Tokens) -> Tensor:
        """Tokenised prompts [batch, tokens] -> L2-normalised embeddings [batch, joint_dim]."""
        return F.normalize(self.caption_encoder(tokens).float(), dim=-1)

    def forward(self, windows: Tensor, tokens: Tokens) -> Tensor:
        """Logits [windows, prompts]: scale x cosine."""
        return self.scale * self.embed_audio(windows) @ self.embed_text(tokens).T
